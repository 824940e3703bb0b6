#include "server/base/bad_row.h"

#include <google/rpc/error_details.pb.h>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace densityd {

std::optional<BadRow> BadRowOf(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest detail;
  if (!payload || !detail.ParseFromString(std::string(*payload)) || detail.field_violations_size() != 1) {
    return std::nullopt;
  }
  const auto& violation = detail.field_violations(0);
  absl::string_view field = violation.field();
  const size_t begin = field.rfind('[');
  BadRow bad{0, violation.description()};
  if (begin == absl::string_view::npos || !absl::ConsumeSuffix(&field, "]")) return std::nullopt;
  if (!absl::SimpleAtoi(field.substr(begin + 1), &bad.row)) return std::nullopt;
  return bad;
}

}  // namespace densityd
