#include "server/engine/weights.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "torch/nn/module.h"
#include "torch/types.h"

namespace densityd::engine {
namespace {

using registry::DType;
using testing::HasSubstr;

/// A module with every kind of number that a flow may hold.
class Sample : public torch::nn::Module {
 public:
  explicit Sample(torch::ScalarType type) {
    const auto options = torch::TensorOptions().dtype(type);
    weight = register_parameter("weight", torch::arange(6, options).reshape({2, 3}) / 7);
    scalar = register_parameter("scalar", torch::full({}, 1.0 / 3, options));
    empty = register_buffer("empty", torch::empty({0, 3}, options));
    order = register_buffer("order", torch::tensor({2, 0, 1}, torch::kInt64));
    ready = register_buffer("ready", torch::tensor({true, false}));
  }
  torch::Tensor weight, scalar, empty, order, ready;
};

class Outer : public torch::nn::Module {
 public:
  explicit Outer(torch::ScalarType type) { inner = register_module("inner", std::make_shared<Sample>(type)); }
  std::shared_ptr<Sample> inner;
};

std::vector<registry::Tensor> Stored(torch::ScalarType type = torch::kFloat32) {
  auto tensors = FlowToTensors(Outer(type));
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  return *std::move(tensors);
}

registry::Tensor& Named(std::vector<registry::Tensor>& tensors, const std::string& name) {
  for (registry::Tensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << "no tensor " << name;
  return tensors.front();
}

void Zero(Outer& module) {
  torch::NoGradGuard no_grad;
  for (torch::Tensor& tensor : module.parameters()) tensor.zero_();
  for (torch::Tensor& tensor : module.buffers()) tensor.zero_();
}

/// Loads `tensors` into a fresh module, expects DATA_LOSS with `message`, and that nothing was written.
void ExpectDamaged(const std::vector<registry::Tensor>& tensors, const std::string& message) {
  Outer module(torch::kFloat32);
  Zero(module);
  const absl::Status status = LoadWeights(module, tensors);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  EXPECT_EQ(module.inner->weight.abs().sum().item<double>(), 0) << "written in spite of the error";
}

TEST(FlowToTensors, NamesEveryParameterAndBufferWithItsTypeAndShape) {
  std::vector<registry::Tensor> tensors = Stored();
  ASSERT_EQ(tensors.size(), 5u);
  EXPECT_EQ(Named(tensors, "inner.weight").dtype, DType::kF32);
  EXPECT_EQ(Named(tensors, "inner.weight").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(Named(tensors, "inner.weight").data.size(), 24u);
  EXPECT_EQ(Named(tensors, "inner.scalar").shape, std::vector<int64_t>{});
  EXPECT_EQ(Named(tensors, "inner.empty").data.size(), 0u);
  EXPECT_EQ(Named(tensors, "inner.order").dtype, DType::kI64);
  EXPECT_EQ(Named(tensors, "inner.ready").data, std::string("\1\0", 2));
}

TEST(FlowToTensors, RefusesNumbersThatAreNotFinite) {
  Outer module(torch::kFloat64);
  {
    torch::NoGradGuard no_grad;
    module.inner->weight[1][2] = std::numeric_limits<double>::quiet_NaN();
  }
  const auto tensors = FlowToTensors(module);
  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tensors.status().message()), HasSubstr("inner.weight"));
}

TEST(LoadWeights, GivesBackWhatWasStoredInAnyOrder) {
  for (const torch::ScalarType type : {torch::kFloat32, torch::kFloat64}) {
    std::vector<registry::Tensor> tensors = Stored(type);
    std::reverse(tensors.begin(), tensors.end());
    Outer module(type);
    Zero(module);
    ASSERT_TRUE(LoadWeights(module, tensors).ok());
    const Outer expected(type);
    EXPECT_TRUE(torch::equal(module.inner->weight, expected.inner->weight));
    EXPECT_TRUE(torch::equal(module.inner->scalar, expected.inner->scalar));
    EXPECT_TRUE(torch::equal(module.inner->order, expected.inner->order));
    EXPECT_TRUE(torch::equal(module.inner->ready, expected.inner->ready));
  }
}

TEST(LoadWeights, ConvertsBetweenFloat32AndFloat64) {
  Outer module(torch::kFloat64);
  Zero(module);
  ASSERT_TRUE(LoadWeights(module, Stored(torch::kFloat32)).ok());
  EXPECT_EQ(module.inner->weight.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(torch::equal(module.inner->weight, Outer(torch::kFloat32).inner->weight.to(torch::kFloat64)));
}

TEST(LoadWeights, NamesTheTensorThatIsMissing) {
  std::vector<registry::Tensor> tensors = Stored();
  tensors.erase(tensors.begin());
  ExpectDamaged(tensors, "weights.safetensors: inner.weight: is missing");
}

TEST(LoadWeights, NamesTheTensorThatDoesNotBelong) {
  std::vector<registry::Tensor> tensors = Stored();
  tensors.push_back({"inner.stranger", DType::kF32, {1}, std::string(4, '\0')});
  ExpectDamaged(tensors, "inner.stranger: is no tensor of this flow");
}

TEST(LoadWeights, NamesTheTensorThatOccursTwice) {
  std::vector<registry::Tensor> tensors = Stored();
  tensors.push_back(Named(tensors, "inner.weight"));
  ExpectDamaged(tensors, "inner.weight: occurs twice");
}

TEST(LoadWeights, NamesTheTensorOfAnotherShape) {
  std::vector<registry::Tensor> tensors = Stored();
  Named(tensors, "inner.weight").shape = {3, 2};
  ExpectDamaged(tensors, "inner.weight: has shape (3, 2); the flow has (2, 3)");
}

TEST(LoadWeights, NamesTheTensorOfAnotherType) {
  std::vector<registry::Tensor> tensors = Stored();
  Named(tensors, "inner.order").dtype = DType::kF64;
  ExpectDamaged(tensors, "inner.order: has numbers of type float64; the flow has int64");
}

TEST(LoadWeights, NamesTheTensorWhoseBytesDoNotFit) {
  std::vector<registry::Tensor> tensors = Stored();
  Named(tensors, "inner.weight").data.pop_back();
  ExpectDamaged(tensors, "inner.weight: holds 23 bytes; its shape needs 24");
}

TEST(LoadWeights, NamesTheTensorWithANumberThatIsNotFinite) {
  std::vector<registry::Tensor> tensors = Stored();
  std::string& data = Named(tensors, "inner.weight").data;
  data.replace(data.size() - 4, 4, "\xff\xff\xff\xff");
  ExpectDamaged(tensors, "inner.weight: holds a number that is not finite");
}

TEST(LoadWeights, SurvivesHostileShapes) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{-1}, {INT64_MAX, INT64_MAX}, {0}, std::vector<int64_t>(70, 1)}) {
    std::vector<registry::Tensor> tensors = Stored();
    Named(tensors, "inner.weight").shape = shape;
    ExpectDamaged(tensors, "inner.weight: has shape");
  }
}

}  // namespace
}  // namespace densityd::engine
