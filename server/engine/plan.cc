#include "server/engine/plan.h"

#include <cstdlib>
#include <type_traits>

namespace densityd::engine {
namespace {

constexpr size_t kAlignment = 64;

/// Rows [begin, begin + rows) of `matrix`; an empty matrix stays empty.
template <typename Matrix>
Matrix SliceRows(Matrix matrix, size_t begin, size_t rows) {
  if (matrix.data == nullptr) return matrix;
  using Byte = std::conditional_t<std::is_same_v<Matrix, ConstMatrix>, const char, char>;
  matrix.data = static_cast<Byte*>(matrix.data) + begin * matrix.cols * NumberBytes(matrix.type);
  matrix.rows = rows;
  return matrix;
}

}  // namespace

const char* OpName(Op op) {
  switch (op) {
    case Op::kLogProb:
      return "log_prob";
    case Op::kInverse:
      return "inverse";
    case Op::kForward:
      return "forward";
    case Op::kSample:
      return "sample";
    case Op::kScore:
      return "score";
    case Op::kLogProbByColumn:
      return "log_prob_by_column";
    case Op::kLogProbWithError:
      return "log_prob_with_error";
  }
  return "unknown";
}

size_t OutputColumns(Op op, size_t features) {
  if (op == Op::kLogProb) return 0;
  return op == Op::kLogProbWithError ? 1 : features;
}

bool PlanInfo::runs(Op op) const {
  switch (op) {
    case Op::kScore:
      return scores;
    case Op::kLogProbByColumn:
      return has_chain_order;
    case Op::kLogProbWithError:
      return is_estimate;
    default:
      return true;
  }
}

RowSpan Slice(const RowSpan& span, size_t begin, size_t rows) {
  RowSpan part = span;
  part.rows = rows;
  part.first_row = span.first_row + begin;
  part.input = SliceRows(span.input, begin, rows);
  part.output = SliceRows(span.output, begin, rows);
  part.log = SliceRows(span.log, begin, rows);
  // One row of context belongs to every row of the span.
  if (span.context.rows != 1) part.context = SliceRows(span.context, begin, rows);
  return part;
}

void Workspace::Free::operator()(void* memory) const { std::free(memory); }

void* Workspace::Reserve(size_t bytes) {
  if (bytes > bytes_) {
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    memory_.reset();
    bytes_ = 0;
    memory_.reset(std::aligned_alloc(kAlignment, rounded));
    if (memory_ != nullptr) bytes_ = rounded;
  }
  return memory_.get();
}

}  // namespace densityd::engine
