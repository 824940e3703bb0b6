// Columns of the context as networks see them. Free of LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"
#include "server/flow/column_map.h"

namespace densityd::flow {

/// One column of context_encoding. Networks see `width` numbers of it:
///   a number        z of its scaling
///   an angle        cosine and sine
///   a category      a learnt row of `embedding_rows` x width
/// and where numbers and angles may be missing a flag more, 1 where they are; what stands in their place is learnt.
struct ContextColumn {
  enum class Kind : uint8_t { kNumber, kAngle, kCategory };
  Kind kind = Kind::kNumber;
  ColumnForm form;
  bool accept_unknown = false;
  bool accept_missing = false;
  size_t width = 1;
  size_t embedding_rows = 0;  ///< categories, then unknown ones and missing ones where they are accepted

  bool is_category() const { return kind == Kind::kCategory; }
  bool has_flag() const { return accept_missing && !is_category(); }
  /// Numbers besides the flag.
  size_t values() const { return width - (has_flag() ? 1 : 0); }
  size_t unknown_row() const { return form.codes.size(); }
  size_t missing_row() const { return form.codes.size() + (accept_unknown ? 1 : 0); }
};

/// The columns of a fitted `encoding`; of one that is not, as far as they are known.
std::vector<ContextColumn> ContextColumns(const density::v1::Preprocessing& encoding);

/// Numbers that networks see of the context: C, or the widths of all columns under context_encoding.
int64_t EncodedContextWidth(const density::v1::FlowSpec& spec);

/// Row of the embedding of a category; of what RefuseContextValue refuses, some row.
size_t EmbeddingRow(const ContextColumn& column, double x);

/// The values() numbers of a number or angle; where RefuseContextValue refuses it, or it is missing, those of z = 0.
void EncodeNumber(const ContextColumn& column, double x, double* to);

/// Why `x` cannot be encoded: "8 is none of the column's 3 categories (1, 2, 5)"; empty where it can.
std::string RefuseContextValue(const ContextColumn& column, double x);

}  // namespace densityd::flow
