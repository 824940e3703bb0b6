// Tables that do not fit memory at once through densityctl: blocks in, blocks out.
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/table.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// Several blocks of either format, and several messages.
constexpr int kRows = 200'000;

/// Rows (a, b) = (i, 1).
Table LongTable() {
  Table table = {.rows = kRows, .cols = 2, .columns = {"a", "b"}, .values = {}};
  for (int i = 0; i < kRows; ++i) table.values.insert(table.values.end(), {static_cast<double>(i), 1});
  return table;
}

TEST_F(CtlTest, LongTablesAreAnsweredRowByRowInEveryFormat) {
  Table table = LongTable();
  const std::string csv = Write("rows.csv", FormatCsv(table));
  table.columns.clear();
  const std::string npy = Write("rows.npy", FormatNpy(table));
  const std::string month = Write("month.csv", "month\n0\n");
  for (const std::string& input : {csv, npy}) {
    const Outcome outcome = Ctl({"logprob", "power", input, "--context", month, "-o", Path("out.npy")});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const absl::StatusOr<Table> answers = ParseNpy(Read("out.npy"), "out.npy");
    ASSERT_TRUE(answers.ok()) << answers.status();
    ASSERT_EQ(answers->rows, static_cast<size_t>(kRows));
    for (int i = 0; i < kRows; ++i) ASSERT_EQ(answers->values[i], i - 1);
  }
  const Outcome map = Ctl({"inverse", "power", npy, "--context", month, "--log-abs-det", "-o", Path("z.csv")});
  ASSERT_EQ(map.code, 0) << map.err;
  const absl::StatusOr<Table> z = ParseCsv(Read("z.csv"), "z.csv");
  ASSERT_TRUE(z.ok()) << z.status();
  ASSERT_EQ(z->rows, static_cast<size_t>(kRows));
  for (int i = 0; i < kRows; ++i) ASSERT_EQ(z->values[3 * i], i + 1);
}

TEST_F(CtlTest, ALongSampleIsWrittenInEveryFormatWithItsProgress) {
  for (const std::string name : {"sample.csv", "sample.npy"}) {
    const Outcome outcome = Ctl({"sample", "power", "--rows", absl::StrCat(kRows), "--seed", "3", "-o", Path(name)}, "",
                                /*err_columns=*/80);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("rows/s"), HasSubstr("%")));
    const absl::StatusOr<Table> rows = ParseTable(Read(name), name);
    ASSERT_TRUE(rows.ok()) << rows.status();
    ASSERT_EQ(rows->rows, static_cast<size_t>(kRows));
    for (int i = 0; i < kRows; ++i) ASSERT_EQ(rows->values[2 * i + 1], i);
  }
  const std::string json = Ctl({"sample", "power", "--rows", "9000", "--format", "json"}).out;
  EXPECT_EQ(Ctl({"forward", "power", "--context", Write("month.csv", "month\n0\n")}, json).code, 0);
}

TEST_F(CtlTest, ContextForEachRowGoesWithItsRow) {
  std::string month = "month\n";
  for (int i = 0; i < kRows; ++i) absl::StrAppend(&month, i % 12, "\n");
  const std::string rows = Write("rows.csv", FormatCsv(LongTable()));
  const Outcome outcome = Ctl({"logprob", "power", rows, "--context", Write("month.csv", month)});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const absl::StatusOr<Table> answers = ParseCsv(outcome.out, "out");
  for (int i = 0; i < kRows; ++i) ASSERT_EQ(answers->values[i], i - 1 + 100 * (i % 12));
  const Outcome longer = Ctl({"logprob", "power", rows, "--context", Write("month.csv", month + "1\n")});
  EXPECT_EQ(longer.code, 3);
  EXPECT_THAT(longer.err, HasSubstr(absl::StrCat("the context has ", kRows + 1, " rows")));
}

TEST_F(CtlTest, AnErrorInALaterBlockLeavesNoFile) {
  const std::string rows = Write("rows.csv", FormatCsv(LongTable()) + "1,nonsense\n");
  const std::string month = Write("month.csv", "month\n0\n");
  const Outcome outcome = Ctl({"logprob", "power", rows, "--context", month, "-o", Path("out.csv")});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("line ", kRows + 2, ", column 2")));
  EXPECT_FALSE(std::filesystem::exists(Path("out.csv")));
  EXPECT_FALSE(std::filesystem::exists(Path("out.csv.part")));

  server_.estimator.break_after = 3;
  server_.estimator.break_with = {grpc::StatusCode::DATA_LOSS, "damaged"};
  EXPECT_NE(Ctl({"sample", "power", "--rows", absl::StrCat(kRows), "-o", Path("out.npy")}).code, 0);
  EXPECT_FALSE(std::filesystem::exists(Path("out.npy")));
  EXPECT_FALSE(std::filesystem::exists(Path("out.npy.part")));
}

TEST_F(CtlTest, AFileThatIsCutShortIsFoundOutAtItsEnd) {
  Table table = LongTable();
  table.columns.clear();
  std::string npy = FormatNpy(table);
  npy.resize(npy.size() - 8);
  const std::string month = Write("month.csv", "month\n0\n");
  const Outcome outcome = Ctl({"logprob", "power", Write("rows.npy", npy), "--context", month, "-o", Path("out.npy")});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("is cut short"));
  EXPECT_FALSE(std::filesystem::exists(Path("out.npy")));
}

}  // namespace
}  // namespace densityd::ctl
