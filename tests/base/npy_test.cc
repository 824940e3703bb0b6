#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/table.h"

namespace densityd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::string_literals;  // NOLINT(google-build-using-namespace): bytes with NUL read best as ""s

std::string Npy(std::string_view header, std::string_view data, int version = 1) {
  std::string out = "\x93NUMPY"s;
  out.push_back(static_cast<char>(version));
  out.push_back('\0');
  for (int shift = 0; shift < (version == 1 ? 16 : 32); shift += 8) {
    out.push_back(static_cast<char>(header.size() >> shift));
  }
  out += header;
  out += data;
  return out;
}

template <typename T>
std::string Bytes(std::initializer_list<T> numbers) {
  return {reinterpret_cast<const char*>(numbers.begin()), numbers.size() * sizeof(T)};
}

std::string ErrorOf(std::string_view bytes) {
  const absl::Status status = ParseNpy(bytes, "x.npy").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(NpyTest, EveryDocumentedTypeIsRead) {
  const std::pair<const char*, std::string> cases[] = {
      {"<f4", Bytes<float>({1, -2, 3, 4.5f})},
      {"<f8", Bytes<double>({1, -2, 3, 4.5})},
      {"<i4", Bytes<int32_t>({1, -2, 3, 4})},
      {"<i8", Bytes<int64_t>({1, -2, 3, 4})},
  };
  for (const auto& [descr, data] : cases) {
    for (int version : {1, 2}) {
      const auto table = ParseNpy(
          Npy(absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (2, 2), }    \n"), data, version),
          "x.npy");
      ASSERT_TRUE(table.ok()) << table.status();
      EXPECT_EQ(table->rows, 2u);
      EXPECT_EQ(table->cols, 2u);
      EXPECT_EQ(table->values[1], -2);
      EXPECT_EQ(table->values[3], descr[1] == 'f' ? 4.5 : 4);
    }
  }
}

TEST(NpyTest, OneDimensionIsOneColumn) {
  const auto table =
      ParseNpy(Npy("{'shape': (3,), 'fortran_order': False, 'descr': \"<f4\"}", Bytes<float>({1, 2, 3})), "x.npy");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->rows, 3u);
  EXPECT_EQ(table->cols, 1u);
}

TEST(NpyTest, FormattedTablesReadBackAndDataIsAligned) {
  const Table table{.rows = 2, .cols = 3, .columns = {}, .values = {1, 2, 3, 4, 5, 1e-310}};
  const std::string bytes = FormatNpy(table);
  EXPECT_EQ((bytes.size() - table.values.size() * 8) % 64, 0u);
  const auto back = ParseTable(bytes, "x.npy");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->values, table.values);
  EXPECT_EQ(back->cols, 3u);
}

TEST(NpyTest, EveryTruncationIsRefused) {
  const std::string bytes = FormatNpy({.rows = 2, .cols = 3, .columns = {}, .values = {1, 2, 3, 4, 5, 6}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy of its own size, so that a sanitizer sees any read past the end.
    EXPECT_THAT(ErrorOf(std::string(bytes.data(), size)), HasSubstr(size < 6 ? "is no NPY file" : "is cut short"))
        << size;
  }
  EXPECT_THAT(ErrorOf(bytes + "x"), HasSubstr("has bytes after its end"));
}

TEST(NpyTest, WhatIsNotReadIsSaid) {
  const std::string data = Bytes<double>({1, 2});
  const auto header = [](std::string_view descr, std::string_view order, std::string_view shape) {
    return absl::StrCat("{'descr': ", absl::string_view(descr.data(), descr.size()),
                        ", 'fortran_order': ", absl::string_view(order.data(), order.size()),
                        ", 'shape': ", absl::string_view(shape.data(), shape.size()), "}");
  };
  EXPECT_THAT(ErrorOf(Npy(header("'>f8'", "False", "(2,)"), data)), HasSubstr("\">f8\""));
  EXPECT_THAT(ErrorOf(Npy(header("'|O'", "False", "(2,)"), data)), HasSubstr("\"|O\""));
  EXPECT_THAT(ErrorOf(Npy(header("[('a', '<f8')]", "False", "(2,)"), data)), HasSubstr("structured"));
  EXPECT_THAT(ErrorOf(Npy(header("'<f8'", "True", "(1, 2)"), data)), HasSubstr("ascontiguousarray"));
  EXPECT_THAT(ErrorOf(Npy(header("'<f8'", "False", "()"), data)), HasSubstr("one or two dimensions"));
  EXPECT_THAT(ErrorOf(Npy(header("'<f8'", "False", "(1, 2, 1)"), data)), HasSubstr("one or two dimensions"));
  EXPECT_THAT(ErrorOf(Npy(header("'<f8'", "False", "(0, 2)"), "")), HasSubstr("no rows"));
  EXPECT_THAT(ErrorOf(Npy(header("'<f8'", "False", "(2, 0)"), "")), HasSubstr("no rows"));
  EXPECT_THAT(ErrorOf(Npy("x", data, 3)), HasSubstr("NPY version 3"));
}

TEST(NpyTest, HostileHeadersAllocateNothing) {
  const char* const shapes[] = {"(1152921504606846976, 1)",
                                "(18446744073709551615, 18446744073709551615)",
                                "(4294967296, 4294967296)",
                                "(2305843009213693952,)",
                                "(99999999999999999999999999,)",
                                "(-1,)",
                                "(2, 2"};
  for (const char* shape : shapes) {
    ErrorOf(Npy(absl::StrCat("{'descr': '<f8', 'fortran_order': False, 'shape': ", shape, "}"), "12345678"));
  }
  for (const char* header : {"", "{", "{}", "{'descr'", "{'descr': '<f8'}", "__import__('os').system('x')",
                             "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}",
                             "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'extra': 1}",
                             "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)} + 1"}) {
    EXPECT_THAT(ErrorOf(Npy(header, "12345678")), HasSubstr("header that is not understood")) << header;
  }
}

TEST(NpyTest, FlippedBytesNeverCrash) {
  const std::string good = FormatNpy({.rows = 2, .cols = 3, .columns = {}, .values = {1, 2, 3, 4, 5, 6}});
  std::mt19937 random(3);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = good;
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto table = ParseNpy(bytes, "x.npy");
    EXPECT_TRUE(!table.ok() || table->values.size() == table->rows * table->cols);
  }
}

TEST(TableTest, TheContentDecidesTheFormat) {
  EXPECT_THAT(ParseTable("1,2\n", "x.npy")->values, ElementsAre(1, 2));
  EXPECT_THAT(ParseTable(FormatNpy({.rows = 1, .cols = 1, .columns = {}, .values = {7}}), "x.csv")->values,
              ElementsAre(7));
}

}  // namespace
}  // namespace densityd
