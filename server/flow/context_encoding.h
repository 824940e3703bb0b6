// The context as networks see it: numbers scaled, categories embedded, missing numbers replaced.
#pragma once

#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/context_column.h"
#include "server/flow/linear_layer.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// context (N, C) -> (N, EncodedContextWidth), of the flow's dtype; the context may be of any floating dtype, and is
/// scaled in float64. What context_column.h refuses is encoded as something else, so that no number is
/// undefined. In training mode a share of what may be unknown or missing is taken for it, so that these rows are learnt
/// also where the data have few of them. Registers, for the column j that needs it, `<j>.embedding` (rows, width) and
/// `<j>.missing` (numbers).
class ContextEncoding final : public Module {
 public:
  /// Precondition: `spec` is fitted.
  ContextEncoding(const density::v1::Preprocessing& spec, Initializer& initializer);
  Tensor Encode(const Tensor& context);

 private:
  struct Column {
    ContextColumn spec;
    Tensor codes;      // of a category, float32
    Tensor embedding;  // of a category
    Tensor missing;    // of a number or angle that may be missing
  };

  // Rows of `mask` (N), and in training mode some more.
  Tensor OrDropped(const Tensor& mask) const;
  Tensor EncodeCategory(const Column& column, const Tensor& x) const;
  Tensor EncodeNumber(const Column& column, const Tensor& x) const;

  std::vector<Column> columns_;
  Tensor dtype_;  // of the flow
};

}  // namespace densityd::flow
