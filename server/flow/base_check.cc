#include "server/flow/base_check.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/field_check.h"
#include "server/flow/layer_check.h"

namespace densityd::flow {
namespace {

using density::v1::BaseDistribution;
using density::v1::GaussianMixture;
using density::v1::ProductBase;
using density::v1::StudentT;
using density::v1::UniformBox;

constexpr double kMaxDegrees = 1000;
constexpr uint32_t kMaxComponents = 1024;
constexpr int kMaxGroups = 64;

absl::Status CheckStudentT(const StudentT& student, const std::string& field) {
  if (student.degrees() == 0 || (student.degrees() > 1 && student.degrees() <= kMaxDegrees)) return absl::OkStatus();
  return InvalidArgument(field + ".degrees",
                         absl::StrCat("is ", student.degrees(), "; it must be within (1, ", kMaxDegrees, "]"));
}

absl::Status CheckBox(const UniformBox& box, const std::string& field) {
  const double low = box.has_low() ? box.low() : 0;
  const double high = box.has_high() ? box.high() : 1;
  if (!std::isfinite(low)) return InvalidArgument(field + ".low", absl::StrCat("is ", low, "; it must be finite"));
  if (std::isfinite(high) && high > low) return absl::OkStatus();
  return InvalidArgument(field + ".high", absl::StrCat("is ", high, "; it must be finite and above low, ", low));
}

absl::Status CheckProduct(const ProductBase& product, int64_t features, int64_t context_features,
                          const std::string& field) {
  if (product.groups_size() < 1 || product.groups_size() > kMaxGroups) {
    return InvalidArgument(field + ".groups",
                           absl::StrCat("has ", product.groups_size(), " groups; it must have 1 … ", kMaxGroups));
  }
  std::vector<bool> seen(features, false);
  for (int g = 0; g < product.groups_size(); ++g) {
    const ProductBase::Group& group = product.groups(g);
    const std::string path = absl::StrCat(field, ".groups[", g, "]");
    if (group.columns().empty()) return InvalidArgument(path + ".columns", "is empty");
    if (auto status = CheckColumns(group.columns(), features, path + ".columns"); !status.ok()) return status;
    for (int i = 0; i < group.columns_size(); ++i) {
      if (seen[group.columns(i)]) {
        return InvalidArgument(absl::StrCat(path, ".columns[", i, "]"),
                               absl::StrCat("column ", group.columns(i), " is in another group, too"));
      }
      seen[group.columns(i)] = true;
    }
    if (group.base().has_product()) return InvalidArgument(path + ".base", "is a product itself");
    auto status = CheckBase(group.base(), group.columns_size(), context_features, path + ".base");
    if (!status.ok()) return status;
  }
  for (int64_t column = 0; column < features; ++column) {
    if (!seen[column]) return InvalidArgument(field + ".groups", absl::StrCat("column ", column, " is in no group"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckBase(const BaseDistribution& base, int64_t features, int64_t context_features,
                       const std::string& field) {
  switch (base.kind_case()) {
    case BaseDistribution::kStudentT:
      return CheckStudentT(base.student_t(), field + ".student_t");
    case BaseDistribution::kGaussianMixture:
      return CheckCount(base.gaussian_mixture().components(), 1, kMaxComponents,
                        field + ".gaussian_mixture.components");
    case BaseDistribution::kUniformBox:
      return CheckBox(base.uniform_box(), field + ".uniform_box");
    case BaseDistribution::kConditionalDiagonalNormal: {
      const std::string path = field + ".conditional_diagonal_normal";
      if (context_features == 0) return InvalidArgument(path, "needs a context, but context_features is 0");
      return CheckConditioner(base.conditional_diagonal_normal().conditioner(), path + ".conditioner");
    }
    case BaseDistribution::kProduct:
      return CheckProduct(base.product(), features, context_features, field + ".product");
    default:
      return absl::OkStatus();
  }
}

}  // namespace densityd::flow
