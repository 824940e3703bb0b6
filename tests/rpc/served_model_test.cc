// What a loader makes of a stored version.
#include "server/rpc/served_model.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;

absl::Status LoadWith(const absl::Status& compile_error) {
  telemetry::Metrics metrics(1);
  const registry::Loader loader = MakeLoader(
      [&](const auto&, auto, const auto&) -> absl::StatusOr<std::unique_ptr<engine::Plan>> { return compile_error; },
      "cpu", metrics);
  registry::StoredVersion stored;
  stored.name = "m";
  stored.manifest.mutable_calibration()->add_levels(0.5);
  stored.manifest.mutable_calibration()->add_log_prob(-1);
  return loader(stored).status();
}

TEST(ServedModel, AStoredSpecThatIsNotValidIsDamage) {
  const absl::Status status = LoadWith(InvalidArgument("spec.layers[3].coupling.mask", "transforms no column"));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("manifest.json"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("spec.layers[3].coupling.mask"));
}

TEST(ServedModel, OtherErrorsOfCompilingStay) {
  EXPECT_TRUE(absl::IsResourceExhausted(LoadWith(ResourceExhausted("memory", "does not fit"))));
}

}  // namespace
}  // namespace densityd::rpc
