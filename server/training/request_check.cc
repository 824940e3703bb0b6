#include "server/training/request_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/base/beneath.h"
#include "server/base/errors.h"
#include "server/base/matrix_message.h"
#include "server/flow/context_use.h"
#include "server/flow/preprocessing_check.h"
#include "server/flow/spec.h"
#include "server/registry/names.h"
#include "server/training/dataset_file.h"
#include "server/training/fit_columns.h"
#include "server/training/options.h"

namespace densityd::training {
namespace {

using density::v1::FlowSpec;
using density::v1::TrainingLimits;
using density::v1::TrainRequest;

constexpr size_t kMaxColumns = 65536;
constexpr int32_t kMaxPriority = 100;
// Less than LibTorch needs to come up.
constexpr uint64_t kMinMemoryBytes = uint64_t{64} << 20;

absl::Status CheckNames(const TrainRequest& request) {
  if (absl::Status status = registry::CheckModelName("model", request.model()); !status.ok()) return status;
  if (request.alias().empty()) return absl::OkStatus();
  if (request.alias() == "latest") {
    return InvalidArgument("alias", "`latest` moves with every published version; leave it out or choose another");
  }
  return registry::CheckAliasName("alias", request.alias());
}

absl::Status CheckPriority(int32_t priority) {
  if (priority >= -kMaxPriority && priority <= kMaxPriority) return absl::OkStatus();
  return InvalidArgument("priority",
                         absl::StrCat("is ", priority, "; it must be -", kMaxPriority, " to ", kMaxPriority));
}

// What is known of data that are not read yet. Whether each of their columns may hold NaN: context whose encoding says
// so.
absl::StatusOr<std::vector<bool>> CheckShape(const TrainRequest& request, uint64_t rows, size_t cols,
                                             const std::vector<std::string>& names) {
  absl::StatusOr<SplitSizes> split = ComputeSplit(request.options(), rows);
  if (!split.ok()) return split.status();
  if (absl::Status status = ResolveOptions(request.options(), split->train).status(); !status.ok()) return status;
  absl::StatusOr<ColumnSelection> columns = SelectColumns(request, cols, names);
  if (!columns.ok()) return columns.status();
  absl::StatusOr<FlowSpec> spec = ResolveSpec(request, *columns);
  if (!spec.ok()) return spec.status();
  const std::vector<bool> missing_context = MissingContext(*spec);
  std::vector<bool> may_be_missing(cols, false);
  for (size_t i = 0; i < missing_context.size(); ++i) may_be_missing[columns->context[i]] = missing_context[i];
  return may_be_missing;
}

// A context that nothing reads would be ignored without a word.
absl::Status CheckContextIsRead(const FlowSpec& spec) {
  if (flow::ReadsContext(spec)) return absl::OkStatus();
  return InvalidArgument(
      "context_columns",
      "nothing in this flow reads a context, so that every context would have the same density; leave "
      "it out, or take a preset whose networks read it (maf, realnvp, nsf_ar, …) or the base "
      "conditional_diagonal_normal");
}

absl::Status CheckSpecCount(const char* field, uint32_t given, size_t columns) {
  if (given == 0 || given == columns) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is ", given, "; the data have ", columns,
                                             " such columns (0 takes the "
                                             "number from the data)"));
}

absl::StatusOr<ConstMatrix> CheckInlineRows(const TrainRequest& request) {
  absl::StatusOr<ConstMatrix> rows = ViewMatrix(request.rows(), "rows");
  if (!rows.ok()) return rows.status();
  if (rows->data == nullptr) return InvalidArgument("rows", "is empty; a training needs data");
  absl::StatusOr<std::vector<bool>> may_be_missing = CheckShape(request, rows->rows, rows->cols, {});
  if (!may_be_missing.ok()) return may_be_missing.status();
  if (absl::Status status = CheckFinite(*rows, "rows", 0, *may_be_missing); !status.ok()) return status;
  return rows;
}

absl::Status CheckDataset(const TrainRequest& request, const DatasetStore& datasets) {
  absl::StatusOr<density::v1::Dataset> dataset = datasets.Get(request.dataset());
  if (!dataset.ok()) return dataset.status();
  const std::vector<std::string> names(dataset->columns().begin(), dataset->columns().end());
  return CheckShape(request, dataset->rows(), names.size(), names).status();
}

absl::Status CheckFile(const TrainRequest& request, const std::string& data_root) {
  if (data_root.empty()) {
    return FailedPrecondition("file", request.file(), "this server takes no files: it was started without --data-root");
  }
  if (absl::Status status = OpenBeneath(data_root, "file", request.file()).status(); !status.ok()) return status;
  // The columns of a file are known when it is read; a preset is checked for as many as there must be.
  ColumnSelection columns;
  const density::v1::ImageShape& image = request.preset().image();
  const size_t pixels = size_t{image.channels()} * image.height() * image.width();
  // Entries without a name are one per column.
  const auto& described = request.preset().preprocessing().columns();
  const size_t unnamed = described.empty() || !described[0].name().empty() ? 0 : described.size();
  columns.features.resize(request.feature_columns_size() > 0
                              ? request.feature_columns_size()
                              : std::clamp<size_t>(std::max(pixels, unnamed), 2, kMaxColumns + 1));
  columns.context.resize(request.context_columns_size());
  if (request.has_preset()) return ResolveSpec(request, columns).status();
  return absl::OkStatus();
}

// Puts named entries at the places of their columns, which are known by name unless the data are a file that is not
// read yet.
absl::Status PlaceColumns(const std::vector<size_t>& columns, const ColumnSelection& selection,
                          const std::string& field, density::v1::Preprocessing* preprocessing) {
  if (preprocessing == nullptr || preprocessing->columns().empty()) return absl::OkStatus();
  if (selection.names.empty()) {
    if (!preprocessing->columns(0).name().empty()) preprocessing->clear_columns();
    return absl::OkStatus();
  }
  std::vector<std::string> names;
  for (const size_t column : columns) names.push_back(selection.names[column]);
  return flow::PlaceNamedColumns(names, field, *preprocessing);
}

absl::Status PlaceColumns(const ColumnSelection& columns, FlowSpec& spec) {
  absl::Status status = PlaceColumns(columns.context, columns, "spec.context_encoding",
                                     spec.has_context_encoding() ? spec.mutable_context_encoding() : nullptr);
  if (!status.ok()) return status;
  if (spec.layers().empty() || !spec.layers(0).has_preprocessing()) return absl::OkStatus();
  return PlaceColumns(columns.features, columns, "spec.layers[0].preprocessing",
                      spec.mutable_layers(0)->mutable_preprocessing());
}

}  // namespace

absl::StatusOr<FlowSpec> ResolveSpec(const TrainRequest& request, const ColumnSelection& columns) {
  const size_t features = columns.features.size();
  const size_t context = columns.context.size();
  if (features > kMaxColumns || context > kMaxColumns) {
    return InvalidArgument("columns", absl::StrCat("a flow takes at most ", kMaxColumns, " columns"));
  }
  if (request.has_preset()) {
    density::v1::Preset preset = request.preset();
    absl::Status status = PlaceColumns(columns.features, columns, "preset.preprocessing",
                                       preset.has_preprocessing() ? preset.mutable_preprocessing() : nullptr);
    if (status.ok()) {
      status = PlaceColumns(columns.context, columns, "preset.context_encoding",
                            preset.has_context_encoding() ? preset.mutable_context_encoding() : nullptr);
    }
    if (!status.ok()) return status;
    absl::StatusOr<FlowSpec> expanded =
        flow::ExpandPreset(preset, static_cast<uint32_t>(features), static_cast<uint32_t>(context));
    if (!expanded.ok()) return expanded.status();
    if (status = CheckContextIsRead(*expanded); !status.ok()) return status;
    return expanded;
  }
  FlowSpec spec = request.spec();
  // The columns of a version are those at the same places, whatever they are called now.
  if (request.warm_start().empty()) {
    if (absl::Status status = PlaceColumns(columns, spec); !status.ok()) return status;
  }
  if (absl::Status status = CheckSpecCount("spec.features", spec.features(), features); !status.ok()) return status;
  if (absl::Status status = CheckSpecCount("spec.context_features", spec.context_features(), context); !status.ok()) {
    return status;
  }
  spec.set_features(static_cast<uint32_t>(features));
  spec.set_context_features(static_cast<uint32_t>(context));
  if (absl::Status status = flow::CheckFlowSpec(spec, "spec"); !status.ok()) return status;
  if (flow::CountParameters(spec) == 0) {
    return InvalidArgument("spec.layers", "have nothing to learn: no layer, nor the base, has a parameter");
  }
  spec = flow::WithDefaults(std::move(spec));
  if (absl::Status status = CheckContextIsRead(spec); !status.ok()) return status;
  return spec;
}

absl::StatusOr<TrainingLimits> ResolveLimits(const TrainingLimits& asked, const TrainingLimits& most) {
  TrainingLimits limits = most;
  if (asked.memory_bytes() != 0) {
    if (asked.memory_bytes() < kMinMemoryBytes) {
      return InvalidArgument("limits.memory_bytes",
                             absl::StrCat("is ", asked.memory_bytes(), "; it must be at least ", kMinMemoryBytes));
    }
    if (most.memory_bytes() != 0 && asked.memory_bytes() > most.memory_bytes()) {
      return InvalidArgument("limits.memory_bytes",
                             absl::StrCat("is ", asked.memory_bytes(), "; this server allows at most ",
                                          most.memory_bytes(), " (--max-training-memory)"));
    }
    limits.set_memory_bytes(asked.memory_bytes());
  }
  // Not so for NaN.
  if (!(asked.seconds() >= 0) || std::isinf(asked.seconds())) {
    return InvalidArgument("limits.seconds",
                           absl::StrCat("is ", asked.seconds(), "; it must be finite and at least 0"));
  }
  if (asked.seconds() > 0) {
    if (most.seconds() > 0 && asked.seconds() > most.seconds()) {
      return InvalidArgument("limits.seconds", absl::StrCat("is ", asked.seconds(), "; this server allows at most ",
                                                            most.seconds(), " (--max-training-seconds)"));
    }
    limits.set_seconds(asked.seconds());
  }
  return limits;
}

absl::StatusOr<ConstMatrix> CheckTrainRequest(const TrainRequest& request, const DatasetStore& datasets,
                                              const std::string& data_root) {
  if (absl::Status status = CheckNames(request); !status.ok()) return status;
  if (absl::Status status = CheckPriority(request.priority()); !status.ok()) return status;
  if (absl::Status status = CheckOptions(request.options()); !status.ok()) return status;
  if (request.flow_case() == TrainRequest::FLOW_NOT_SET) {
    return InvalidArgument("preset", "none of `preset`, `spec` and `warm_start` is set; one says what to train");
  }
  absl::Status status;
  switch (request.data_case()) {
    case TrainRequest::kRows:
      return CheckInlineRows(request);
    case TrainRequest::kDataset:
      status = CheckDataset(request, datasets);
      break;
    case TrainRequest::kFile:
      status = CheckFile(request, data_root);
      break;
    case TrainRequest::DATA_NOT_SET:
      status = InvalidArgument("rows", "none of `rows`, `dataset` and `file` is set; one says what to train on");
      break;
  }
  if (!status.ok()) return status;
  return ConstMatrix();
}

}  // namespace densityd::training
