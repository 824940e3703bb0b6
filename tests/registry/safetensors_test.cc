#include "server/registry/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry {
namespace {

using ::testing::HasSubstr;
using testing::SampleTensors;
using ::testing::StartsWith;

std::string Write(const std::vector<Tensor>& tensors) {
  const absl::StatusOr<SafetensorsLayout> layout = LayOutSafetensors(tensors);
  EXPECT_TRUE(layout.ok()) << layout.status();
  std::string bytes = layout->header;
  for (const Tensor* tensor : layout->tensors) bytes += tensor->data;
  return bytes;
}

/// A file with this header and `data_bytes` bytes of data.
std::string File(std::string json, size_t data_bytes) {
  json.append((8 - json.size() % 8) % 8, ' ');
  const uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + json + std::string(data_bytes, 'd');
}

std::string ErrorOf(std::string_view bytes) {
  const absl::Status status = ParseSafetensors(bytes, "w.safetensors").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith("w.safetensors: "));
  return std::string(status.message());
}

bool SameTensor(const Tensor& a, const Tensor& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.data == b.data;
}

TEST(SafetensorsTest, WhatIsWrittenIsRead) {
  const std::vector<Tensor> tensors = SampleTensors();
  const auto read = ParseSafetensors(Write(tensors), "w.safetensors");
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), tensors.size());
  for (const Tensor& tensor : tensors) {
    const auto found = std::find_if(read->begin(), read->end(), [&](const Tensor& t) { return t.name == tensor.name; });
    ASSERT_NE(found, read->end()) << tensor.name;
    EXPECT_TRUE(SameTensor(*found, tensor)) << tensor.name;
  }
}

TEST(SafetensorsTest, NoTensorsAreAFileToo) { EXPECT_TRUE(ParseSafetensors(Write({}), "w")->empty()); }

TEST(SafetensorsTest, TheLayoutIsTheDocumentedOne) {
  const std::string bytes = Write(SampleTensors());
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ((8 + length) % 64, 0u);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  EXPECT_EQ(header["layers.0.weight"]["dtype"], "F32");
  EXPECT_EQ(header["layers.0.weight"]["shape"], (std::vector<int>{2, 3}));
  const uint64_t begin = header["layers.0.weight"]["data_offsets"][0];
  EXPECT_EQ(bytes.substr(8 + length + begin, 24), std::string(24, 'w'));
}

TEST(SafetensorsTest, WhatCannotBeWrittenIsSaid) {
  const auto error = [](std::vector<Tensor> tensors) {
    const absl::Status status = LayOutSafetensors(tensors).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(error({{"a", DType::kU8, {2}, "xxx"}}), HasSubstr("tensors[0]: has 3 bytes of data; its shape needs 2"));
  EXPECT_THAT(error({{"a", DType::kU8, {}, "x"}, {"a", DType::kU8, {}, "x"}}), HasSubstr("tensors[1]"));
  EXPECT_THAT(error({{"", DType::kU8, {}, "x"}}), HasSubstr("name"));
  EXPECT_THAT(error({{"\xff", DType::kU8, {}, "x"}}), HasSubstr("name"));
  EXPECT_THAT(error({{"__metadata__", DType::kU8, {}, "x"}}), HasSubstr("reserved"));
  EXPECT_THAT(error({{"a", DType::kU8, {-1}, ""}}), HasSubstr("shape"));
  EXPECT_THAT(error({{"a", DType::kF64, {int64_t{1} << 31, int64_t{1} << 31, 4}, ""}}), HasSubstr("shape"));
  EXPECT_THAT(error({{"a", DType::kU8, std::vector<int64_t>(9, 1), "x"}}), HasSubstr("9 dimensions"));
}

TEST(SafetensorsTest, EveryTruncationIsDataLoss) {
  const std::string bytes = Write(SampleTensors());
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy of its own size, so that a sanitizer sees any read past the end.
    ErrorOf(std::string(bytes.data(), size));
  }
  EXPECT_THAT(ErrorOf(bytes + "x"), HasSubstr("data"));
}

TEST(SafetensorsTest, HostileHeadersAreRefusedBeforeAnythingIsAllocated) {
  const auto tensor = [](std::string_view members) {
    return absl::StrCat(R"({"a":{)", absl::string_view(members.data(), members.size()), "}}");
  };
  const struct {
    std::string json;
    const char* error;
  } cases[] = {
      {"", "is no JSON"},
      {"[]", "an array"},
      {"null", "null"},
      {"{", "is no JSON"},
      {"{}x", "is no JSON"},
      {R"({"a":1})", "a number"},
      {R"({"a":{}})", "needs dtype, shape and data_offsets"},
      {tensor(R"("dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4])"), "its shape needs"},
      {tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"), "more than can be"},
      {tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])"), "beyond 2^63"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615])"), "the data has 4 bytes"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), "the data has 4 bytes"},
      {tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), "a negative number"},
      {tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), "a fraction"},
      {tensor(R"("dtype":"F32","shape":[1e30],"data_offsets":[0,4])"), "a fraction"},
      {tensor(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])"), "an array"},
      {tensor(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"), "a number"},
      {tensor(R"("dtype":"BF16","shape":[1],"data_offsets":[0,4])"), "BF16"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), "two data_offsets"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"), "two data_offsets"},
      {tensor(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])"), "repeated"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1)"), "unknown"},
      {tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])"), "dimensions"},
      {tensor(R"("dtype":"F32","shape":[],"data_offsets":[0,3])"), "its shape needs 4"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       "twice"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "begins at 2"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "begins at 2"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "of which the tensors use 3"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"__metadata__":{"x":{}}})", "an object"},
      {"{\"\xff\":{}}", "is no JSON"},
      {std::string(100'000, '['), "an array"},
      {R"({"a":)" + std::string(100'000, '{'), "is no JSON"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(ErrorOf(File(test.json, 4)), HasSubstr(test.error)) << test.json.substr(0, 200);
  }
  EXPECT_THAT(ErrorOf(File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                           5)),
              HasSubstr("not aligned"));
}

TEST(SafetensorsTest, ALengthBeyondTheFileIsRefused) {
  for (uint64_t length : {uint64_t{9}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    EXPECT_THAT(ErrorOf(std::string(reinterpret_cast<const char*>(&length), 8) + "{}      "), HasSubstr("header"));
  }
}

TEST(SafetensorsTest, MetadataIsIgnored) {
  const auto read = ParseSafetensors(
      File(R"({"__metadata__":{"format":"pt"},"a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}})", 4),
      "w.safetensors");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->size(), 1u);
}

TEST(SafetensorsTest, FlippedBytesNeverCrashAndNeverGiveMoreThanTheFile) {
  const std::string good = Write(SampleTensors());
  std::mt19937 random(5);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) {
      bytes[random() % 300] = static_cast<char>(random());
    }
    const auto read = ParseSafetensors(bytes, "w.safetensors");
    if (!read.ok()) continue;
    size_t total = 0;
    for (const Tensor& tensor : *read) {
      EXPECT_EQ(TensorBytes(tensor.dtype, tensor.shape), tensor.data.size());
      total += tensor.data.size();
    }
    EXPECT_LE(total, bytes.size());
  }
}

}  // namespace
}  // namespace densityd::registry
