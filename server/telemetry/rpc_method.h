// The server's RPCs as a closed set: what metrics and logs call them.
#pragma once

namespace densityd::telemetry {

enum class RpcMethod {
  kLogProb,
  kSample,
  kInverse,
  kForward,
  kTrain,
  kStreamSample,
  kStreamLogProb,
  kScore,
  kExplain,
  kTrainingsGet,
  kTrainingsList,
  kTrainingsWatch,
  kTrainingsCancel,
  kDatasetsUpload,
  kDatasetsGet,
  kDatasetsList,
  kDatasetsDelete,
  kModelsList,
  kModelsGet,
  kModelsGetPlan,
  kModelsLoad,
  kModelsUnload,
  kModelsDelete,
  kModelsSetAlias,
  kModelsDeleteAlias,
  kModelsExport,
  kModelsImport,
  kModelsReload,
};
inline constexpr int kRpcMethodCount = static_cast<int>(RpcMethod::kModelsReload) + 1;

/// "DensityEstimator/LogProb" …: service and method without the package.
const char* RpcMethodName(RpcMethod method);

}  // namespace densityd::telemetry
