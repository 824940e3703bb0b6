// What a loader makes of a stored version.
#include "server/rpc/served_model.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "tests/rpc/fake_plan.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;

registry::StoredVersion Stored() {
  registry::StoredVersion stored;
  stored.name = "m";
  stored.version = 3;
  stored.manifest.mutable_calibration()->add_levels(0.5);
  stored.manifest.mutable_calibration()->add_log_prob(-1);
  stored.manifest.mutable_spec()->set_features(2);
  return stored;
}

/// Fake plans, and how often each thing was done.
class ServedModelTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<const ServedModel>> Load() {
    PlanSource source;
    source.compile = [this](const density::v1::FlowSpec& spec, auto,
                            const engine::CompileOptions& options) -> absl::StatusOr<std::unique_ptr<engine::Plan>> {
      ++(options.precision == NumberType::kFloat64 ? float64_compiled_ : float32_compiled_);
      if (!compile_error_.ok()) return compile_error_;
      return std::make_unique<FakePlan>(spec.features(), 0, options.precision, probe_);
    };
    source.float64_info = [](const density::v1::FlowSpec& spec) {
      engine::PlanInfo info;
      info.precision = NumberType::kFloat64;
      info.features = spec.features();
      info.bytes = 5000;
      return info;
    };
    source.read = [this](const std::string& name, uint64_t version) -> absl::StatusOr<registry::StoredVersion> {
      EXPECT_EQ(name, "m");
      EXPECT_EQ(version, 3u);
      if (!read_error_.ok()) return read_error_;
      return Stored();
    };
    auto servable = MakeLoader(source, "cpu", /*workers=*/2, metrics_)(Stored());
    if (!servable.ok()) return servable.status();
    return std::static_pointer_cast<const ServedModel>(*servable);
  }

  telemetry::Metrics metrics_{1};
  std::shared_ptr<PlanProbe> probe_ = std::make_shared<PlanProbe>();
  absl::Status compile_error_;
  absl::Status read_error_;
  int float32_compiled_ = 0;
  int float64_compiled_ = 0;
};

TEST_F(ServedModelTest, AStoredSpecThatIsNotValidIsDamage) {
  compile_error_ = InvalidArgument("spec.layers[3].coupling.mask", "transforms no column");
  const absl::Status status = Load().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("manifest.json"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("spec.layers[3].coupling.mask"));
}

TEST_F(ServedModelTest, OtherErrorsOfCompilingStay) {
  compile_error_ = ResourceExhausted("memory", "does not fit");
  EXPECT_TRUE(absl::IsResourceExhausted(Load().status()));
}

TEST_F(ServedModelTest, TheFloat64PlanIsMadeWhenItIsNeededAndCountsBefore) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(float32_compiled_, 1);
  EXPECT_EQ(float64_compiled_, 0);
  EXPECT_EQ((*model)->memory_bytes(), (*model)->plan(NumberType::kFloat32)->info().bytes + 5000);
  EXPECT_EQ((*model)->plan(NumberType::kFloat64)->info().features, 2u) << "requests are checked without it";
  EXPECT_EQ(float64_compiled_, 0);

  const auto plan = (*model)->MadePlan(engine::Op::kLogProb, NumberType::kFloat64);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ((*plan)->info().precision, NumberType::kFloat64);
  EXPECT_TRUE((*model)->MadePlan(engine::Op::kLogProb, NumberType::kFloat64).ok());
  EXPECT_EQ(float64_compiled_, 1);
}

TEST_F(ServedModelTest, GradientsAreComputedInFloat64) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  for (const NumberType precision : {NumberType::kFloat32, NumberType::kFloat64}) {
    EXPECT_EQ((*model)->plan(engine::Op::kScore, precision), (*model)->plan(NumberType::kFloat64));
    EXPECT_EQ((*model)->plan(engine::Op::kSample, precision), (*model)->plan(precision));
  }
  const auto plan = (*model)->MadePlan(engine::Op::kScore, NumberType::kFloat32);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ((*plan)->info().precision, NumberType::kFloat64);
}

TEST_F(ServedModelTest, AVersionThatIsGoneFromDiskHasNoFloat64Plan) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  read_error_ = NotFound("version", "m@3", "was deleted");
  EXPECT_TRUE(absl::IsNotFound((*model)->MadePlan(engine::Op::kLogProb, NumberType::kFloat64).status()));
  EXPECT_TRUE((*model)->MadePlan(engine::Op::kLogProb, NumberType::kFloat32).ok());
}

}  // namespace
}  // namespace densityd::rpc
