#include "server/flow/context_encoding.h"

#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "server/flow/column_preprocessing.h"

namespace densityd::flow {
namespace {

// Share of the rows of a training that are taken for unknown or missing.
constexpr double kDropped = 1.0 / 32;

}  // namespace

ContextEncoding::ContextEncoding(const density::v1::Preprocessing& spec, Initializer& initializer) {
  dtype_ = RegisterConstant(torch::zeros({}, torch::kFloat64));
  int j = 0;
  for (const ContextColumn& one : ContextColumns(spec)) {
    Column column{one, {}, {}, {}};
    const auto module = std::make_shared<Module>();
    if (one.is_category()) {
      column.codes = RegisterExactConstant(torch::tensor(one.form.codes, torch::kFloat64).to(torch::kFloat32));
      column.embedding = module->register_parameter(
          "embedding", initializer.Uniform({static_cast<int64_t>(one.embedding_rows), static_cast<int64_t>(one.width)},
                                           std::numbers::sqrt3));
    } else if (one.has_flag()) {
      column.missing =
          module->register_parameter("missing", torch::zeros({static_cast<int64_t>(one.values())}, torch::kFloat64));
    }
    if (!module->parameters().empty()) register_module(std::to_string(j), module);
    columns_.push_back(std::move(column));
    ++j;
  }
}

Tensor ContextEncoding::OrDropped(const Tensor& mask) const {
  if (!is_training()) return mask;
  return mask.logical_or(torch::rand(mask.sizes(), dtype_.options()) < kDropped);
}

Tensor ContextEncoding::EncodeCategory(const Column& column, const Tensor& x) const {
  const Tensor is_code = x.to(torch::kFloat32).unsqueeze(1) == column.codes;
  Tensor row = is_code.to(torch::kFloat32).argmax(1);
  const Tensor is_missing = x.isnan();
  const Tensor is_unknown = is_code.any(1).logical_or(is_missing).logical_not();
  const auto fill = [&](const Tensor& mask, size_t to) { row = row.masked_fill(mask, static_cast<int64_t>(to)); };
  if (column.spec.accept_unknown) fill(OrDropped(is_unknown), column.spec.unknown_row());
  if (column.spec.accept_missing) fill(OrDropped(is_missing), column.spec.missing_row());
  return column.embedding.index_select(0, row);
}

Tensor ContextEncoding::EncodeNumber(const Column& column, const Tensor& x) const {
  const Tensor is_missing = x.isnan();
  const ColumnForm& form = column.spec.form;
  const Tensor z = MapColumnToBase(form, x.masked_fill(is_missing, MapToData(form, 0).value));
  Tensor values =
      column.spec.kind == ContextColumn::Kind::kAngle ? torch::stack({z.cos(), z.sin()}, 1) : z.unsqueeze(1);
  values = values.to(dtype_.scalar_type());
  if (!column.spec.has_flag()) return values;
  const Tensor replaced = OrDropped(is_missing).unsqueeze(1);
  return torch::cat({torch::where(replaced, column.missing, values), replaced.to(dtype_.scalar_type())}, 1);
}

Tensor ContextEncoding::Encode(const Tensor& context) {
  const Tensor exact = context.to(torch::kFloat64);
  std::vector<Tensor> encoded;
  for (size_t j = 0; j < columns_.size(); ++j) {
    const Tensor x = exact.select(1, static_cast<int64_t>(j));
    encoded.push_back(columns_[j].spec.is_category() ? EncodeCategory(columns_[j], x) : EncodeNumber(columns_[j], x));
  }
  return torch::cat(encoded, 1);
}

}  // namespace densityd::flow
