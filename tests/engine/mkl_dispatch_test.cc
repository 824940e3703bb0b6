// The choice of MKL's kernels that executables make, see server/engine/mkl_dispatch.cc.
#include <dlfcn.h>

#include <cmath>
#include <string>

#include "gtest/gtest.h"
#include "torch/types.h"

#if defined(__x86_64__)

extern "C" int mkl_serv_intel_cpu_true();

namespace densityd::engine {
namespace {

TEST(MklDispatch, TheDefinitionOfTheExecutableIsTheOneThatLibTorchFinds) {
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "mkl_serv_intel_cpu_true"), reinterpret_cast<void*>(&mkl_serv_intel_cpu_true));
  Dl_info info;
  ASSERT_NE(dladdr(dlsym(RTLD_DEFAULT, "mkl_serv_intel_cpu_true"), &info), 0);
  EXPECT_NE(std::string(info.dli_fname).find("engine_torch_test"), std::string::npos) << info.dli_fname;
}

TEST(MklDispatch, SaysYesOnlyWhereTheInstructionsAre) {
  const bool fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  EXPECT_EQ(mkl_serv_intel_cpu_true(), fast || __builtin_cpu_is("intel") ? 1 : 0);
}

TEST(MklDispatch, Float32ProductsAreRightForEveryShape) {
  torch::NoGradGuard no_grad;
  for (const int64_t rows : {1, 3, 16, 65, 300}) {
    for (const int64_t inner : {1, 7, 128, 513}) {
      const torch::Tensor a = torch::sin(torch::arange(rows * inner, torch::kFloat64)).view({rows, inner});
      const torch::Tensor b = torch::cos(torch::arange(inner * 33, torch::kFloat64)).view({inner, 33});
      const torch::Tensor single = a.to(torch::kFloat32).matmul(b.to(torch::kFloat32)).to(torch::kFloat64);
      const double error = (single - a.matmul(b)).abs().max().item<double>();
      // Rounding errors of a sum of `inner` terms below 1, with a factor of 4 to spare.
      EXPECT_LE(error, 4 * 6e-8 * std::sqrt(static_cast<double>(inner)) + 1e-7 * std::sqrt(static_cast<double>(inner)));
    }
  }
}

TEST(MklDispatch, Float32ExponentialsAndLogarithmsAreRight) {
  torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::linspace(-80, 80, 20001, torch::kFloat32);
  const torch::Tensor exact = x.to(torch::kFloat64).exp();
  EXPECT_LE(((x.exp().to(torch::kFloat64) - exact) / exact).abs().max().item<double>(), 3e-7);
  const torch::Tensor positive = torch::linspace(1e-3, 1e3, 20001, torch::kFloat32);
  const torch::Tensor error = positive.log().to(torch::kFloat64) - positive.to(torch::kFloat64).log();
  EXPECT_LE(error.abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace densityd::engine

#endif
