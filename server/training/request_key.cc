#include "server/training/request_key.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"

namespace densityd::training {
namespace {

constexpr size_t kMaxKeyBytes = 128;

}  // namespace

absl::Status CheckRequestKey(std::string_view key) {
  if (key.size() > kMaxKeyBytes) {
    return InvalidArgument("idempotency_key",
                           absl::StrCat("has ", key.size(), " characters; at most ", kMaxKeyBytes, " are allowed"));
  }
  const bool is_printable = std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!is_printable) return InvalidArgument("idempotency_key", "must be printable ASCII");
  return absl::OkStatus();
}

std::string RequestDigest(const density::v1::TrainRequest& request) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&coded);
  }
  return Sha256Hex(bytes);
}

}  // namespace densityd::training
