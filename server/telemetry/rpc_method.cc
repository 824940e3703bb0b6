#include "server/telemetry/rpc_method.h"

#include <array>
#include <cstddef>

namespace densityd::telemetry {
namespace {

constexpr std::array<const char*, kRpcMethodCount> kNames = {
    "DensityEstimator/LogProb",
    "DensityEstimator/Sample",
    "DensityEstimator/Inverse",
    "DensityEstimator/Forward",
    "DensityEstimator/Train",
    "DensityEstimator/StreamSample",
    "DensityEstimator/StreamLogProb",
    "DensityEstimator/Score",
    "DensityEstimator/Explain",
    "Trainings/Get",
    "Trainings/List",
    "Trainings/Watch",
    "Trainings/Cancel",
    "Datasets/Upload",
    "Datasets/Get",
    "Datasets/List",
    "Datasets/Delete",
    "ModelRegistry/List",
    "ModelRegistry/Get",
    "ModelRegistry/GetPlan",
    "ModelRegistry/Load",
    "ModelRegistry/Unload",
    "ModelRegistry/Delete",
    "ModelRegistry/SetAlias",
    "ModelRegistry/DeleteAlias",
    "ModelRegistry/Export",
    "ModelRegistry/Import",
    "ModelRegistry/ReloadFromDisk",
};

}  // namespace

const char* RpcMethodName(RpcMethod method) { return kNames[static_cast<size_t>(method)]; }

}  // namespace densityd::telemetry
