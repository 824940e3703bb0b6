// Versions whose files are sound and whose content is not: specs and tensors that were changed by damage or malice
// behind digests that fit. Each is refused with what is wrong, or becomes a plan that runs; and none takes more memory
// than twice what is stored asks for.
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/compile.h"
#include "tests/engine/flow_fixture.h"

namespace densityd::engine {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr uint32_t kFeatures = 5;
/// What a plan and the process need, whatever the weights.
constexpr rlim_t kFixedBytes = 128 << 20;

int Mutations() {
  const char* count = std::getenv("DENSITYD_HOSTILE_MODELS");
  return count == nullptr ? 300 : std::atoi(count);
}

/// The process may have no more than twice `stored` bytes above what it has while this lives. Sanitizers need more.
class MemoryLimit {
 public:
  explicit MemoryLimit(rlim_t stored) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(DENSITYD_SANITIZE_THREAD)
    getrlimit(RLIMIT_DATA, &before_);
    const rlimit limit = {DataBytes() + 2 * stored + kFixedBytes, before_.rlim_max};
    setrlimit(RLIMIT_DATA, &limit);
#endif
  }
  ~MemoryLimit() {
    if (before_.rlim_cur != 0) setrlimit(RLIMIT_DATA, &before_);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  static rlim_t DataBytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("VmData:", 0) == 0) return std::strtoull(line.c_str() + 7, nullptr, 10) << 10;
    }
    return 0;
  }

  rlimit before_ = {};
};

class HostileModelsTest : public ::testing::TestWithParam<std::string> {
 protected:
  size_t Below(size_t bound) { return random_() % bound; }

  /// Sets a field of `message`, or of a message in it, to what nobody would write.
  void Spoil(Message& message) {
    const auto& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> set;
    reflection.ListFields(message, &set);
    const auto& all = *message.GetDescriptor();
    if (Below(8) == 0 && all.field_count() > 0) set = {all.field(static_cast<int>(Below(all.field_count())))};
    if (set.empty()) return;
    const FieldDescriptor& field = *set[Below(set.size())];
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return SpoilMessage(message, field);
    static constexpr double kNumbers[] = {
        0, -1, 0.5, 1e300, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()};
    static constexpr uint32_t kCounts[] = {0, 1, 2, 3, 7, 64, 65536, 1U << 20, 1U << 31, ~0U};
    const uint32_t count = kCounts[Below(std::size(kCounts))];
    const double number = kNumbers[Below(std::size(kNumbers))];
    const int size = field.is_repeated() ? reflection.FieldSize(message, &field) : 0;
    const bool change = size > 0 && Below(2) == 0;
    const int at = size > 0 ? static_cast<int>(Below(size)) : 0;
    if (field.is_repeated() && !change && size > 0 && Below(2) == 0) return reflection.RemoveLast(&message, &field);
    switch (field.cpp_type()) {
#define DENSITYD_SPOIL(type, Type, value)                                          \
  case FieldDescriptor::type:                                                      \
    if (change) return reflection.SetRepeated##Type(&message, &field, at, value);  \
    if (field.is_repeated()) return reflection.Add##Type(&message, &field, value); \
    return reflection.Set##Type(&message, &field, value)
      DENSITYD_SPOIL(CPPTYPE_UINT32, UInt32, count);
      DENSITYD_SPOIL(CPPTYPE_UINT64, UInt64, count);
      DENSITYD_SPOIL(CPPTYPE_DOUBLE, Double, number);
      DENSITYD_SPOIL(CPPTYPE_FLOAT, Float, static_cast<float>(number));
      DENSITYD_SPOIL(CPPTYPE_BOOL, Bool, count % 2 == 0);
      DENSITYD_SPOIL(CPPTYPE_STRING, String, std::string(count % 100, 'x'));
#undef DENSITYD_SPOIL
      case FieldDescriptor::CPPTYPE_ENUM:
        if (!field.is_repeated()) reflection.SetEnumValue(&message, &field, static_cast<int>(Below(12)));
        return;
      default:
        return;
    }
  }

  void SpoilMessage(Message& message, const FieldDescriptor& field) {
    const auto& reflection = *message.GetReflection();
    if (!field.is_repeated()) {
      if (Below(10) == 0) return reflection.ClearField(&message, &field);
      return Spoil(*reflection.MutableMessage(&message, &field));
    }
    const int size = reflection.FieldSize(message, &field);
    if (size == 0) return Spoil(*reflection.AddMessage(&message, &field));
    const int at = static_cast<int>(Below(size));
    switch (Below(8)) {
      case 0:
        return reflection.RemoveLast(&message, &field);
      case 1:
        return reflection.SwapElements(&message, &field, at, 0);
      case 2:
        return reflection.AddMessage(&message, &field)->CopyFrom(reflection.GetRepeatedMessage(message, &field, at));
      default:
        return Spoil(*reflection.MutableRepeatedMessage(&message, &field, at));
    }
  }

  /// Tensors as a file could hold them: every shape has the bytes that it says.
  void Spoil(std::vector<registry::Tensor>& tensors) {
    if (tensors.empty()) return;
    const size_t at = Below(tensors.size());
    registry::Tensor& tensor = tensors[at];
    switch (Below(7)) {
      case 0:
        tensors.erase(tensors.begin() + static_cast<ptrdiff_t>(at));
        return;
      case 1:
        tensor.name += "x";
        return;
      case 2:
        std::swap(tensor.name, tensors[Below(tensors.size())].name);
        return;
      case 3:
        tensor.shape.insert(tensor.shape.begin(), 1);
        return;
      case 4:
        tensor.shape = {0};
        tensor.data.clear();
        return;
      case 5:
        tensor.dtype = tensor.dtype == registry::DType::kU8 ? registry::DType::kI64 : registry::DType::kU8;
        tensor.shape = {static_cast<int64_t>(tensor.data.size() / registry::ElementBytes(tensor.dtype))};
        tensor.data.resize(static_cast<size_t>(tensor.shape[0]) * registry::ElementBytes(tensor.dtype));
        return;
      default:
        for (size_t i = Below(16); i < tensor.data.size(); i += 1 + Below(64))
          tensor.data[i] = static_cast<char>(random_());
        return;
    }
  }

  /// Three rows of each op: whatever comes out, the run ends.
  static void RunAll(const Plan& plan) {
    const size_t features = plan.info().features;
    constexpr size_t kRows = 3;
    std::vector<double> input(kRows * features, 0.25);
    std::vector<double> context(kRows * plan.info().context_features, 0.5);
    std::vector<double> output(kRows * features);
    std::vector<double> log(kRows);
    Workspace workspace;
    for (const Op op : {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample}) {
      RowSpan span;
      span.rows = kRows;
      if (op != Op::kSample) span.input = {input.data(), NumberType::kFloat64, kRows, features};
      if (!context.empty()) span.context = {context.data(), NumberType::kFloat64, kRows, plan.info().context_features};
      if (op != Op::kLogProb) span.output = {output.data(), NumberType::kFloat64, kRows, features};
      if (op == Op::kLogProb) span.log = {log.data(), NumberType::kFloat64, kRows, 1};
      plan.Run(op, {&span, 1}, workspace).IgnoreError();
    }
  }

  std::mt19937_64 random_{7};
};

TEST_P(HostileModelsTest, AreRefusedOrRun) {
  const StoredFlow stored = MakeStoredFlow(SmallPreset(GetParam()), kFeatures, 2, 1);
  rlim_t bytes = stored.spec.ByteSizeLong();
  for (const registry::Tensor& tensor : stored.tensors) bytes += tensor.data.size();
  int refused = 0;
  int made = 0;
  for (int i = 0; i < Mutations(); ++i) {
    density::v1::FlowSpec spec = stored.spec;
    std::vector<registry::Tensor> tensors = stored.tensors;
    if (Below(2) == 0) {
      Spoil(spec);
    } else {
      Spoil(tensors);
    }
    for (const NumberType precision : {NumberType::kFloat32, NumberType::kFloat64}) {
      const MemoryLimit limit(bytes);
      const auto plan = CompilePlan(spec, tensors, {.precision = precision});
      if (plan.ok()) {
        ++made;
        RunAll(**plan);
        continue;
      }
      ++refused;
      const absl::StatusCode code = plan.status().code();
      EXPECT_TRUE(code == absl::StatusCode::kDataLoss || code == absl::StatusCode::kInvalidArgument)
          << i << ": " << plan.status() << "\n"
          << spec.ShortDebugString();
      EXPECT_FALSE(plan.status().message().empty());
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(made, 0);
}

INSTANTIATE_TEST_SUITE_P(Presets, HostileModelsTest,
                         ::testing::Values("realnvp", "maf", "nsf_coupling", "nsf_ar", "gaussianization", "residual",
                                           "student_t_base"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace densityd::engine
