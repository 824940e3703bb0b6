#include "server/rpc/context_check.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/engine/rows.h"

namespace densityd::rpc {

absl::Status CheckEncodable(std::string_view field, const ConstMatrix& context,
                            absl::Span<const flow::ContextColumn> columns) {
  std::vector<double> numbers(context.rows * context.cols);
  engine::ReadRows(context, numbers.data());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const size_t column = i % context.cols;
    const std::string refusal = flow::RefuseContextValue(columns[column], numbers[i]);
    if (!refusal.empty()) {
      return InvalidRow(field, i / context.cols, absl::StrCat("column ", column, " ", refusal));
    }
  }
  return absl::OkStatus();
}

}  // namespace densityd::rpc
