#include "server/flow/base_distribution.h"

#include <string>
#include <utility>
#include <vector>

#include "server/flow/columns.h"
#include "server/flow/gaussian_mixture.h"
#include "server/flow/normal_bases.h"
#include "server/flow/spec.h"
#include "server/flow/student_t.h"
#include "server/flow/uniform_box.h"

namespace densityd::flow {
namespace {

// Groups of columns that are independent of each other.
class Product final : public BaseDistribution {
 public:
  Product(const density::v1::ProductBase& spec, int64_t context_features, Initializer& initializer) {
    const auto groups = register_module("groups", std::make_shared<Module>());
    Columns order;
    for (const auto& group : spec.groups()) {
      const Columns columns(group.columns().begin(), group.columns().end());
      order.insert(order.end(), columns.begin(), columns.end());
      const auto count = static_cast<int64_t>(columns.size());
      auto base = MakeBaseDistribution(group.base(), count, context_features, initializer);
      groups->register_module(std::to_string(groups_.size()), base);
      groups_.push_back({RegisterConstant(torch::tensor(columns, torch::kInt64)), NoiseColumns(group.base(), count),
                         std::move(base)});
    }
    places_ = RegisterConstant(torch::tensor(InversePermutation(order), torch::kInt64));
  }

  Tensor LogProb(const Tensor& z, const Tensor& context) override {
    Tensor sum = torch::zeros({z.size(0)}, z.options());
    for (const Group& group : groups_) sum = sum + group.base->LogProb(z.index_select(1, group.columns), context);
    return sum;
  }

  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override {
    const Tensor rank = torch::empty_like(order).index_put_({order}, torch::arange(order.size(0), order.options()));
    Tensor parts = torch::zeros_like(z);
    for (const Group& group : groups_) {
      const Tensor order_within = rank.index_select(0, group.columns).argsort();
      const Tensor own = group.base->LogProbByColumn(z.index_select(1, group.columns), context, order_within);
      parts = parts.index_copy(1, group.columns, own);
    }
    return parts;
  }

  Tensor FromNoise(const Tensor& noise, const Tensor& context) override {
    std::vector<Tensor> parts;
    int64_t begin = 0;
    for (const Group& group : groups_) {
      parts.push_back(group.base->FromNoise(noise.narrow(1, begin, group.noise_columns), context));
      begin += group.noise_columns;
    }
    return torch::cat(parts, 1).index_select(1, places_);
  }

 private:
  struct Group {
    Tensor columns;
    int64_t noise_columns;
    std::shared_ptr<BaseDistribution> base;
  };
  std::vector<Group> groups_;
  Tensor places_;  // of each column of z among the groups' columns, one group after the other
};

}  // namespace

std::shared_ptr<BaseDistribution> MakeBaseDistribution(const density::v1::BaseDistribution& spec, int64_t features,
                                                       int64_t context_features, Initializer& initializer) {
  using density::v1::BaseDistribution;
  switch (spec.kind_case()) {
    case BaseDistribution::kDiagonalNormal:
      return std::make_shared<DiagonalNormal>(features);
    case BaseDistribution::kStudentT:
      return std::make_shared<StudentT>(spec.student_t(), features);
    case BaseDistribution::kGaussianMixture:
      return std::make_shared<GaussianMixture>(spec.gaussian_mixture(), features, initializer);
    case BaseDistribution::kUniformBox:
      return std::make_shared<UniformBox>(spec.uniform_box(), features);
    case BaseDistribution::kConditionalDiagonalNormal:
      return std::make_shared<ConditionalDiagonalNormal>(spec.conditional_diagonal_normal(), features, context_features,
                                                         initializer);
    case BaseDistribution::kProduct:
      return std::make_shared<Product>(spec.product(), context_features, initializer);
    default:
      return std::make_shared<StandardNormal>();
  }
}

}  // namespace densityd::flow
