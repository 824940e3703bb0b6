#include "server/rpc/permissions.h"

namespace densityd::rpc {

Permission PermissionOf(telemetry::RpcMethod method) {
  using telemetry::RpcMethod;
  switch (method) {
    case RpcMethod::kLogProb:
    case RpcMethod::kSample:
    case RpcMethod::kInverse:
    case RpcMethod::kForward:
    case RpcMethod::kStreamSample:
    case RpcMethod::kStreamLogProb:
    case RpcMethod::kScore:
    case RpcMethod::kExplain:
      return {.right = Right::kInfer};
    case RpcMethod::kTrain:
      return {.right = Right::kTrain, .audited = true, .owner_only = true};
    case RpcMethod::kTrainingsGet:
    case RpcMethod::kTrainingsList:
    case RpcMethod::kTrainingsWatch:
      return {.right = Right::kTrain, .scope = Scope::kOwn, .owner_only = true};
    case RpcMethod::kTrainingsCancel:
      return {.right = Right::kTrain, .scope = Scope::kOwn, .audited = true, .owner_only = true};
    case RpcMethod::kDatasetsGet:
    case RpcMethod::kDatasetsList:
      return {.right = Right::kTrain, .scope = Scope::kNone, .owner_only = true};
    case RpcMethod::kDatasetsUpload:
    case RpcMethod::kDatasetsDelete:
      return {.right = Right::kTrain, .scope = Scope::kNone, .audited = true, .owner_only = true};
    case RpcMethod::kModelsList:
      return {.scope = Scope::kOwn, .any_right = true};
    case RpcMethod::kModelsGet:
    case RpcMethod::kModelsGetPlan:
      return {.any_right = true};
    case RpcMethod::kModelsLoad:
    case RpcMethod::kModelsUnload:
    case RpcMethod::kModelsExport:
    case RpcMethod::kModelsReload:
      return {.right = Right::kAdmin, .audited = true};
    case RpcMethod::kModelsDelete:
    case RpcMethod::kModelsSetAlias:
    case RpcMethod::kModelsDeleteAlias:
      return {.right = Right::kAdmin, .audited = true, .owner_only = true};
    case RpcMethod::kModelsImport:
      // The model's name may be in the archive only.
      return {.right = Right::kAdmin, .scope = Scope::kOwn, .audited = true, .owner_only = true};
  }
  return {};
}

}  // namespace densityd::rpc
