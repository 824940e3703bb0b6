// Flows of other libraries, converted by tools/parity, answer what those libraries answer.
//
// goldens/ is made by `./scripts/parity goldens tests/parity/goldens`: root/ is a server's root with a model version
// for each flow, expected/ holds the library's float64 answers: log_prob and z of the rows x, and sample, the rows that
// base is mapped to.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/file_system.h"
#include "server/engine/compile.h"
#include "server/registry/model_store.h"
#include "server/registry/safetensors.h"
#include "tests/base/temp_folder.h"

namespace densityd {
namespace {

using engine::CompileOptions;
using engine::Op;
using engine::Plan;
using engine::PlanChoice;
using registry::ModelStore;
using registry::StoredVersion;

const std::string kGoldens = DENSITYD_SOURCE_DIR "/tests/parity/goldens";

// All goldens, sorted. Written out, so that one that is lost is missed.
// clang-format off
const std::vector<std::string> kNames = {
    "nflows_householder", "nflows_images", "nflows_maf", "nflows_maf_context", "nflows_maf_feedforward",
    "nflows_maf_feedforward_context", "nflows_nsf_autoregressive", "nflows_nsf_coupling", "nflows_realnvp",
    "normflows_glow", "normflows_glow_rows", "normflows_iaf", "normflows_nsf_autoregressive", "normflows_nsf_coupling",
    "normflows_planar", "normflows_radial", "normflows_realnvp", "normflows_residual", "zuko_cnf", "zuko_cnf_context",
    "zuko_gf", "zuko_linear", "zuko_maf", "zuko_maf_context", "zuko_maf_residual", "zuko_ncsf",
    "zuko_ncsf_coupling_context", "zuko_nice", "zuko_nsf_autoregressive", "zuko_nsf_coupling",
    "zuko_nsf_coupling_context", "zuko_realnvp", "zuko_rotation"};
// clang-format on

// The names of what lies in a folder of the goldens, sorted.
std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens + "/" + folder)) {
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Goldens, AreAllThereAndTested) {
  EXPECT_EQ(NamesIn("expected"), kNames);
  EXPECT_EQ(NamesIn("root/models"), kNames);
}

using Numbers = std::vector<double>;

// The library's answers, by name.
std::map<std::string, Numbers> ReadExpected(const std::string& name) {
  std::ifstream file(kGoldens + "/expected/" + name + ".safetensors", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto tensors = registry::ParseSafetensors(bytes, name);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  std::map<std::string, Numbers> numbers;
  if (!tensors.ok()) return numbers;
  for (const registry::Tensor& tensor : *tensors) {
    EXPECT_EQ(tensor.dtype, registry::DType::kF64);
    Numbers& values = numbers[tensor.name];
    values.resize(tensor.data.size() / sizeof(double));
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  }
  return numbers;
}

// A plan under test, and how far it may be from the library.
struct Subject {
  std::string name;
  CompileOptions options;
  double absolute;
  double relative;  // to the library's number
};

const Subject kSubjects[] = {
    {"reference, float64", {"cpu", NumberType::kFloat64, PlanChoice::kReference}, 1e-9, 0},
    {"reference, float32", {"cpu", NumberType::kFloat32, PlanChoice::kReference}, 1e-4, 1e-4},
    {"fastest, float32", {"cpu", NumberType::kFloat32, PlanChoice::kFastest}, 1e-4, 1e-4},
};

// The answers of a plan to all rows at once, through matrices of float64: every golden fits one tile.
struct Answer {
  Numbers value;  // (N, D)
  Numbers log;    // (N)
};

Answer Ask(const Plan& plan, Op op, const Numbers& input, const Numbers& context) {
  const size_t features = plan.info().features;
  const size_t rows = input.size() / features;
  Answer answer{Numbers(input.size()), Numbers(rows)};
  engine::RowSpan span;
  span.rows = rows;
  span.input = {input.data(), NumberType::kFloat64, rows, features};
  if (!context.empty()) span.context = {context.data(), NumberType::kFloat64, rows, context.size() / rows};
  if (op != Op::kLogProb) span.output = {answer.value.data(), NumberType::kFloat64, rows, features};
  span.log = {answer.log.data(), NumberType::kFloat64, rows, 1};
  engine::Workspace workspace;
  const absl::Status status = plan.Run(op, {&span, 1}, workspace);
  EXPECT_TRUE(status.ok()) << status;
  return answer;
}

void ExpectNear(const Numbers& actual, const Numbers& expected, const Subject& subject, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double tolerance = std::max(subject.absolute, subject.relative * std::abs(expected[i]));
    EXPECT_NEAR(actual[i], expected[i], tolerance) << what << ", number " << i;
  }
}

class ParityTest : public ::testing::TestWithParam<std::string> {
 protected:
  // The stored version, read from a copy of the root: a store writes locks.
  static StoredVersion Read(const std::string& name) {
    const densityd::testing::TempFolder folder;
    const std::string root = folder.Path("root");
    std::filesystem::create_directories(root + "/models");
    std::filesystem::copy(kGoldens + "/root/FORMAT", root);
    std::filesystem::copy(kGoldens + "/root/models/" + name, root + "/models/" + name,
                          std::filesystem::copy_options::recursive);
    auto store = ModelStore::Open(FileSystem::Real(), root, /*clean_tmp=*/true);
    EXPECT_TRUE(store.ok()) << store.status();
    auto version = store->Read(name, 1);
    EXPECT_TRUE(version.ok()) << version.status();
    return version.ok() ? *version : StoredVersion();
  }
};

TEST_P(ParityTest, AnswersAsTheLibraryDoes) {
  const StoredVersion version = Read(GetParam());
  std::map<std::string, Numbers> expected = ReadExpected(GetParam());
  for (const Subject& subject : kSubjects) {
    const auto plan = engine::CompilePlan(version.manifest.spec(), version.tensors, subject.options);
    ASSERT_TRUE(plan.ok()) << subject.name << ": " << plan.status();
    const std::string name = subject.name + " (" + (*plan)->info().kind + ")";
    const Numbers& context = expected["context"];

    ExpectNear(Ask(**plan, Op::kLogProb, expected["x"], context).log, expected["log_prob"], subject,
               name + " log_prob");
    const Answer z = Ask(**plan, Op::kInverse, expected["x"], context);
    ExpectNear(z.value, expected["z"], subject, name + " z");
    const Answer sample = Ask(**plan, Op::kForward, expected["base"], context);
    ExpectNear(sample.value, expected["sample"], subject, name + " sample");

    const Answer back = Ask(**plan, Op::kForward, z.value, context);
    ExpectNear(back.value, expected["x"], subject, name + " x from its z");
    Numbers opposite = back.log;
    for (double& log : opposite) log = -log;
    ExpectNear(opposite, z.log, subject, name + " log|det| of the way back");
    ExpectNear(Ask(**plan, Op::kInverse, sample.value, context).value, expected["base"], subject,
               name + " base from its sample");
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, ParityTest, ::testing::ValuesIn(kNames), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace densityd
