#include "server/engine/cpu/compilable.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"

namespace densityd::engine::cpu {
namespace {

using density::v1::Layer;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

/// A field number or enum value of a type.
struct Number {
  std::string_view type;  ///< without the package
  int number;
};

/// The highest number of each type that lowering knows.
// Masks, orders and permutations are not here: server/flow/columns.h turns them into lists of columns.
constexpr Number kLastKnown[] = {
    {"FlowSpec", 5},
    {"BaseDistribution", 2},
    {"StandardNormal", 0},
    {"DiagonalNormal", 0},
    {"Layer", 11},
    {"Standardize", 2},
    {"Univariate", 3},
    {"Shift", 0},
    {"Affine", 6},
    {"Affine.ScaleFunction", 5},
    {"Affine.Direction", 2},
    {"RationalQuadraticSpline", 6},
    {"RationalQuadraticSpline.Parameterization", 2},
    {"Elementwise", 2},
    {"Coupling", 3},
    {"Autoregressive", 5},
    {"Autoregressive.ParallelDirection", 2},
    {"Conditioner", 2},
    {"Activation", 6},
    {"Mlp", 2},
    {"ResidualMlp", 4},
    {"LuLinear", 0},
    {"ActNorm", 0},
    {"FullAffine", 0},
    {"Householder", 1},
    {"Orthogonal", 1},
    {"Orthogonal.Map", 2},
    {"Bijection", 6},
    {"Bijection.Kind", 8},
    {"Preprocessing", 1},
    {"ColumnPreprocessing", 13},
    {"ColumnPreprocessing.Kind", 4},
    {"ColumnPreprocessing.Scaling", 7},
};
/// Numbers beyond those.
constexpr Number kAlsoKnown[] = {{"Layer", Layer::kPreprocessing},
                                 {"FlowSpec", density::v1::FlowSpec::kContextEncodingFieldNumber}};
constexpr std::string_view kColumnLists[] = {"Mask", "Mask.Pattern", "Autoregressive.Order", "Permutation",
                                             "Permutation.Kind"};

/// Whether lowering knows the field or value `number` of the type `full_name`.
bool IsKnown(std::string_view full_name, int number) {
  constexpr std::string_view kPackage = "density.v1.";
  full_name.remove_prefix(std::min(kPackage.size(), full_name.size()));
  if (std::find(std::begin(kColumnLists), std::end(kColumnLists), full_name) != std::end(kColumnLists)) return true;
  const auto is_it = [&](const Number& one) { return one.type == full_name && one.number == number; };
  if (std::any_of(std::begin(kAlsoKnown), std::end(kAlsoKnown), is_it)) return true;
  const auto* known = std::find_if(std::begin(kLastKnown), std::end(kLastKnown),
                                   [full_name](const Number& one) { return one.type == full_name; });
  return known != std::end(kLastKnown) && number <= known->number;
}

/// The path of the first unknown field below `message`; empty where all are known.
std::string FirstUnknown(const Message& message, const std::string& path) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    std::string at = path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
    if (!IsKnown(message.GetDescriptor()->full_name(), field->number())) return at;
    if (field->enum_type() != nullptr) {
      if (!IsKnown(field->enum_type()->full_name(), reflection->GetEnumValue(message, field))) return at;
    } else if (field->message_type() != nullptr && field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        std::string found =
            FirstUnknown(reflection->GetRepeatedMessage(message, field, i), absl::StrCat(at, "[", i, "]"));
        if (!found.empty()) return found;
      }
    } else if (field->message_type() != nullptr) {
      std::string found = FirstUnknown(reflection->GetMessage(message, field), at);
      if (!found.empty()) return found;
    }
  }
  return "";
}

}  // namespace

absl::Status CheckCompilable(const density::v1::FlowSpec& spec) {
  const std::string unknown = FirstUnknown(spec, "");
  if (unknown.empty()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(unknown, " has no compiled form"));
}

}  // namespace densityd::engine::cpu
