#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/table.h"

namespace densityd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Table Parsed(std::string_view text) {
  absl::StatusOr<Table> table = ParseCsv(text, "x.csv");
  EXPECT_TRUE(table.ok()) << table.status();
  return table.ok() ? *table : Table();
}

std::string ErrorOf(std::string_view text) {
  const absl::Status status = ParseCsv(text, "x.csv").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(CsvTest, NumbersAreReadInEveryNotation) {
  const Table table = Parsed("1,-2.5,1e-3\n+4, .5 ,\t5.\n\"6\",-inf,1e-400\n");
  EXPECT_THAT(table.columns, IsEmpty());
  EXPECT_EQ(table.rows, 3u);
  EXPECT_EQ(table.cols, 3u);
  EXPECT_THAT(table.values, ElementsAre(1, -2.5, 1e-3, 4, 0.5, 5, 6, -std::numeric_limits<double>::infinity(), 0));
}

TEST(CsvTest, AFirstLineWithANonNumberIsTheHeader) {
  const Table table = Parsed("voltage,current\n1,2\n3,4\n");
  EXPECT_THAT(table.columns, ElementsAre("voltage", "current"));
  EXPECT_THAT(table.values, ElementsAre(1, 2, 3, 4));
}

TEST(CsvTest, NamesMayBeQuoted) {
  EXPECT_THAT(Parsed("\"a,b\", \"say \"\"c\"\"\" \n1,2\n").columns, ElementsAre("a,b", "say \"c\""));
}

TEST(CsvTest, QuotedNumbersAboveUnquotedOnesAreNames) {
  EXPECT_THAT(Parsed("\"0\",\"1\"\n5,6\n").columns, ElementsAre("0", "1"));
  EXPECT_THAT(Parsed("\"0\",\"1\"\n\"5\",\"6\"\n").values, ElementsAre(0, 1, 5, 6));
  EXPECT_THAT(Parsed("\"0\",\"1\"").values, ElementsAre(0, 1));
}

TEST(CsvTest, LineEndsByteOrderMarkAndBlankTailDoNotMatter) {
  const Table plain = Parsed("a,b\n1,2\n3,4\n");
  for (const char* text : {"a,b\r\n1,2\r\n3,4\r\n", "a,b\n1,2\n3,4",
                           "\xEF\xBB\xBF"
                           "a,b\n1,2\n3,4\n",
                           "a,b\n1,2\n3,4\n\n \r\n\n"}) {
    const Table table = Parsed(text);
    EXPECT_EQ(table.columns, plain.columns) << text;
    EXPECT_EQ(table.values, plain.values) << text;
  }
}

TEST(CsvTest, ErrorsNameLineAndColumn) {
  EXPECT_EQ(ErrorOf(""), "x.csv: is empty; rows are needed");
  EXPECT_EQ(ErrorOf(" \n\n"), "x.csv: is empty; rows are needed");
  EXPECT_EQ(ErrorOf("a,b\n"), "x.csv: has a header and no rows");
  EXPECT_EQ(ErrorOf("1,2\n3\n"), "x.csv: line 2 has 1 cells; the lines before it have 2");
  EXPECT_EQ(ErrorOf("1,2\n3,4,5\n"), "x.csv: line 2 has 3 cells; the lines before it have 2");
  EXPECT_EQ(ErrorOf("1,2\n\n3,4\n"), "x.csv: line 2 is empty; leave it out");
  EXPECT_EQ(ErrorOf("1,2\n3,\n"),
            "x.csv: line 2, column 2: the cell is empty; fill it in, write nan where a number may be missing, or leave "
            "the row "
            "out");
  EXPECT_EQ(ErrorOf("a,b\n1,2\n3,x\n"), "x.csv: line 3, column 2 (\"b\"): \"x\" is not a number");
  EXPECT_EQ(ErrorOf("1,2\n3,1e999\n"), "x.csv: line 2, column 2: \"1e999\" is too large for float64");
  EXPECT_EQ(ErrorOf("1,2\n3,-1e999\n"), "x.csv: line 2, column 2: \"-1e999\" is too large for float64");
  EXPECT_EQ(ErrorOf("1\n2;3\n"), "x.csv: line 2, column 1: \"2;3\" is not a number; cells are separated by commas");
  EXPECT_EQ(ErrorOf("1,2\n3,\"4\n"), "x.csv: line 2, column 2: the quote is not closed on its line");
  EXPECT_EQ(ErrorOf("1,2\n3,\"4\"5\n"), "x.csv: line 2, column 2: text follows the closing quote");
  EXPECT_EQ(ErrorOf("a,a\n1,2\n"), "x.csv: line 1, column 2: the column name \"a\" stands there twice");
  EXPECT_EQ(ErrorOf("a,\"\"\n1,2\n"), "x.csv: line 1, column 2: the column's name is empty");
  for (const char* text : {"0x10", "1 2", "--1", "+-1", "++1", "1e", "1.2.3", "+", "-", ".", "1,5,"}) {
    EXPECT_THAT(ErrorOf(absl::StrCat("1\n", text, "\n")), ::testing::HasSubstr("line 2")) << text;
  }
}

TEST(CsvTest, NulBytesAreNoNumbers) {
  EXPECT_EQ(ErrorOf(std::string_view("1,2\n3,4\0\n", 9)), "x.csv: line 2, column 2: \"4\\x00\" is not a number");
}

TEST(CsvTest, HugeLinesAreReadAndQuotedShortly) {
  std::string line = "0";
  for (int i = 1; i < 100'000; ++i) absl::StrAppend(&line, ",", i);
  const Table table = Parsed(absl::StrCat(line, "\n", line, "\n"));
  EXPECT_EQ(table.cols, 100'000u);
  EXPECT_EQ(table.values.back(), 99'999);
  EXPECT_LT(ErrorOf("1\n" + std::string(1'000'000, 'x') + "\n").size(), 300u);
}

TEST(CsvTest, FormattedTablesReadBackBitForBit) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20; ++round) {
    Table table{.rows = 50, .cols = 3, .columns = {}, .values = {}};
    if (round % 2 == 0) table.columns = {"0", "b,\"c\"", " d "};
    if (round % 4 == 0) table.columns = {"0", "1", "2"};
    for (size_t i = 0; i < table.rows * table.cols; ++i) {
      double value;
      do {
        const uint64_t bits = random();
        std::memcpy(&value, &bits, sizeof(value));
      } while (std::isnan(value));
      table.values.push_back(value);
    }
    const Table back = Parsed(FormatCsv(table));
    if (round % 4 == 2) {
      EXPECT_THAT(back.columns, ElementsAre("0", "b,\"c\"", "d")) << "names lose the blanks around them";
    } else {
      EXPECT_EQ(back.columns, table.columns);
    }
    EXPECT_EQ(back.values, table.values);
  }
}

TEST(CsvTest, RandomBytesNeverCrash) {
  std::mt19937 random(11);
  const std::string_view alphabet("0123456789.,,,-+e\"\n\n\r ax\0", 26);
  for (int round = 0; round < 5000; ++round) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    const absl::StatusOr<Table> table = ParseCsv(text, "x.csv");
    EXPECT_TRUE(!table.ok() || table->values.size() == table->rows * table->cols);
  }
}

TEST(CsvPieces, AreTheTableOfTheWholeHoweverItIsCut) {
  const std::string text = "a,\"b\"\n1,2\r\n\"3\",+4\n5,6\n7,8\n\n \n";
  const std::vector<size_t> ends = {11, 18, 22, 26, 27, 29};  // of lines, from the second on
  for (size_t first = 0; first < ends.size(); ++first) {
    CsvPieces pieces("x.csv");
    std::vector<double> values;
    size_t begin = 0;
    for (size_t i = first; i < ends.size(); ++i) {
      const auto table = pieces.Parse(std::string_view(text).substr(begin, ends[i] - begin));
      ASSERT_TRUE(table.ok()) << table.status();
      EXPECT_EQ(table->columns, (std::vector<std::string>{"a", "b"}));
      values.insert(values.end(), table->values.begin(), table->values.end());
      begin = ends[i];
    }
    EXPECT_EQ(values, (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_TRUE(pieces.Finish().ok());
  }
}

TEST(CsvPieces, CountLinesOnAndRefuseRowsAfterBlankLines) {
  CsvPieces pieces("x.csv");
  ASSERT_TRUE(pieces.Parse("a\n1\n").ok());
  EXPECT_EQ(pieces.Parse("2\nx\n").status().message(), "x.csv: line 4, column 1 (\"a\"): \"x\" is not a number");
  CsvPieces blank("y.csv");
  ASSERT_TRUE(blank.Parse("1\n2\n\n").ok());
  EXPECT_EQ(blank.Parse("3\n").status().message(), "y.csv: line 3 is empty; leave it out");
  CsvPieces none("z.csv");
  ASSERT_TRUE(none.Parse("a\n").ok());
  EXPECT_FALSE(none.Finish().ok());
}

}  // namespace
}  // namespace densityd
