#include "server/engine/compile.h"

#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/measure.h"
#include "server/engine/reference_plan.h"
#include "torch/cuda.h"

#ifdef DENSITYD_CUDA
#include "server/engine/cuda/capturable.h"
#include "server/engine/cuda/cuda_plan.h"
#endif

namespace densityd::engine {
namespace {

/// The n of "cuda" (0) or "cuda:<n>". INVALID_ARGUMENT for anything else.
absl::StatusOr<size_t> CudaIndex(const std::string& flag) {
  constexpr std::string_view kCuda = "cuda";
  uint32_t index = 0;
  if (flag == kCuda) return index;
  const bool is_cuda = flag.rfind("cuda:", 0) == 0;
  const std::string digits = is_cuda ? flag.substr(kCuda.size() + 1) : "";
  const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
  if (!is_number || !absl::SimpleAtoi(digits, &index)) {
    return InvalidArgument("device", absl::StrCat("is \"", flag, "\"; known are auto, cpu, cuda and cuda:<n>"));
  }
  return index;
}

}  // namespace

absl::StatusOr<std::string> ResolveDevice(const std::string& flag) {
  if (flag == "cpu") return flag;
  const size_t present = torch::cuda::is_available() ? torch::cuda::device_count() : 0;
  if (flag == "auto") return std::string(present > 0 ? "cuda:0" : "cpu");
  const absl::StatusOr<size_t> index = CudaIndex(flag);
  if (!index.ok()) return index.status();
  if (*index >= present) {
    return FailedPrecondition(
        "device", flag,
        absl::StrCat(flag, " is not there: ", present,
                     " CUDA devices can be used. They need a build with CUDA (the preset `cuda`) and a driver; "
                     "--device=cpu serves without"));
  }
  return absl::StrCat("cuda:", *index);
}

namespace {

#ifdef DENSITYD_CUDA
bool HasCudaPlan(const density::v1::FlowSpec& spec, const CompileOptions& options) {
  return options.device != "cpu" && options.choice == PlanChoice::kFastest && cuda::ObstacleToGraphs(spec).empty();
}
#endif

/// Why nothing is compiled for `options`, apart from what the CPU's compiler says of layers; empty where it is.
std::string ObstacleTo([[maybe_unused]] const density::v1::FlowSpec& spec, const CompileOptions& options) {
  if (options.choice == PlanChoice::kReference) return "the reference plan was asked for";
  if (options.device != "cpu") {
#ifdef DENSITYD_CUDA
    return cuda::ObstacleToGraphs(spec);
#else
    return "this build has no plans for CUDA devices";
#endif
  }
  if (options.precision == NumberType::kFloat64) return "plans are compiled for float32 only";
  return "";
}

/// A plan whose run times are not known yet.
absl::StatusOr<std::unique_ptr<Plan>> CompileUnmeasured(const density::v1::FlowSpec& spec,
                                                        absl::Span<const registry::Tensor> tensors,
                                                        const CompileOptions& options) {
#ifdef DENSITYD_CUDA
  if (HasCudaPlan(spec, options)) return cuda::CompileCudaPlan(spec, tensors, options);
#endif
  std::string obstacle = ObstacleTo(spec, options);
  if (obstacle.empty()) {
    absl::StatusOr<std::unique_ptr<Plan>> plan = cpu::CompileCpuPlan(spec, tensors);
    // A layer without compiled form is no error: the reference plan has them all.
    if (!absl::IsUnimplemented(plan.status())) return plan;
    obstacle = std::string(plan.status().message());
  }
  return CompileReferencePlan(spec, tensors, options, std::move(obstacle));
}

}  // namespace

PlanInfo Float64PlanInfo(const density::v1::FlowSpec& spec, const std::string& device, PlanChoice choice) {
  const CompileOptions options = {device, NumberType::kFloat64, choice};
#ifdef DENSITYD_CUDA
  if (HasCudaPlan(spec, options)) return cuda::CudaPlanInfo(spec, options);
#endif
  return ReferencePlanInfo(spec, options, ObstacleTo(spec, options));
}

absl::StatusOr<std::unique_ptr<Plan>> CompilePlan(const density::v1::FlowSpec& spec,
                                                  absl::Span<const registry::Tensor> tensors,
                                                  const CompileOptions& options) {
  absl::StatusOr<std::unique_ptr<Plan>> plan = CompileUnmeasured(spec, tensors, options);
  if (plan.ok()) MeasureRunTimes(**plan);
  return plan;
}

}  // namespace densityd::engine
