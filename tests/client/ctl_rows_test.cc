// Rows through densityctl: formats, columns, samples, bad input.
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/table.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(CtlTest, LogProbReadsEveryFormatAndTakesColumnsByName) {
  const std::string csv = "month,comment,b,a\n1,0,2,5\n2,0,1,4\n";
  const std::string json = R"([{"a":5,"b":2,"month":1},{"a":4,"b":1,"month":2}])";
  const std::string object = R"({"columns":["b","a","month"],"rows":[[2,5,1],[1,4,2]]})";
  for (const std::string& input : {csv, json, object}) {
    const Outcome outcome = Ctl({"logprob", "power"}, input);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, "log_prob\n103\n203\n");
  }
  // Without names, the columns go by position: features, then context.
  const std::string npy = FormatNpy({.rows = 2, .cols = 3, .columns = {}, .values = {5, 2, 1, 4, 1, 2}});
  for (const std::string& input : {npy, std::string("5,2,1\n4,1,2\n"), std::string("[[5,2,1],[4,1,2]]")}) {
    EXPECT_EQ(Ctl({"logprob", "power"}, input).out, "log_prob\n103\n203\n");
  }
}

TEST_F(CtlTest, ColumnsAndContextCanBeChosen) {
  const std::string rows = Write("rows.csv", "p,q,r\n5,2,1\n4,1,2\n");
  EXPECT_EQ(Ctl({"logprob", "power", rows, "--columns", "p,q", "--context-columns", "r"}).out, "log_prob\n103\n203\n");
  EXPECT_EQ(Ctl({"logprob", "power", rows, "--columns", "q,p", "--context-columns", "r"}).out, "log_prob\n97\n197\n");
  const std::string month = Write("month.csv", "month\n7\n");
  EXPECT_EQ(Ctl({"logprob", "power", "--context", month}, "b,a\n2,5\n").out, "log_prob\n703\n");
}

TEST_F(CtlTest, AMissingColumnIsNamedWithThoseThatThereAre) {
  const Outcome unnamed = Ctl({"logprob", "power"}, "a,x,month\n1,2,3\n");
  EXPECT_EQ(unnamed.code, 3);
  EXPECT_THAT(unnamed.err, AllOf(HasSubstr("standard input: power@3 needs the columns a, b"),
                                 HasSubstr("context columns month"), HasSubstr("a, x, month"), HasSubstr("--columns")));
  const Outcome chosen = Ctl({"logprob", "power", "--columns", "a,nope"}, "a,x,month\n1,2,3\n");
  EXPECT_EQ(chosen.code, 4);
  EXPECT_THAT(chosen.err, HasSubstr("no column \"nope\""));
}

TEST_F(CtlTest, TailProbabilityAndJsonComeOnRequest) {
  EXPECT_EQ(Ctl({"logprob", "power", "--tail-probability"}, "a,b,month\n5,2,0\n").out,
            "log_prob,tail_probability\n3,0.25\n");
  EXPECT_EQ(Ctl({"logprob", "power", "--format", "json"}, "a,b,month\n5,2,0\n").out,
            "{\"model\":\"power@3\",\"columns\":[\"log_prob\"],\"rows\":[[3.0]]}\n");
}

TEST_F(CtlTest, TheNameOfTheOutputFileChoosesItsFormat) {
  for (const std::string name : {"out.npy", "out.json", "out.csv"}) {
    const Outcome outcome = Ctl({"inverse", "power", "--log-abs-det", "-o", Path(name)}, "a,b,month\n5,2,0\n");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
  EXPECT_EQ(Read("out.csv"), "z0,z1,log_abs_det\n6,3,0.5\n");
  EXPECT_EQ(Read("out.json"),
            "{\"model\":\"power@3\",\"columns\":[\"z0\",\"z1\",\"log_abs_det\"],\"rows\":[[6.0,3.0,0.5]]}\n");
  const absl::StatusOr<Table> npy = ParseNpy(Read("out.npy"), "out.npy");
  ASSERT_TRUE(npy.ok()) << npy.status();
  EXPECT_THAT(npy->values, ElementsAre(6, 3, 0.5));
}

TEST_F(CtlTest, ScoreNamesTheColumnsThatItsGradientsBelongTo) {
  EXPECT_EQ(Ctl({"score", "power", "--log-prob"}, "b,month,a\n2,0,5\n-1,0,0.5\n").out,
            "score_a,score_b,log_prob\n-5,-2,0.75\n-0.5,1,0.75\n");
}

TEST_F(CtlTest, ForwardOfInverseIsTheIdentityInEveryFormat) {
  const std::string month = Write("month.csv", "month\n7\n");
  for (const std::string format : {"csv", "npy", "json"}) {
    const std::string z = Ctl({"inverse", "power", "--context", month, "--format", format}, "b,a\n2,5\n1,4\n").out;
    EXPECT_EQ(Ctl({"forward", "power", "--context", month}, z).out, "a,b\n5,2\n4,1\n") << format;
  }
}

TEST_F(CtlTest, SampleTakesSeedOffsetAndContext) {
  EXPECT_EQ(Ctl({"sample", "power", "--rows", "2", "--seed", "7", "--row-offset", "10", "--log-prob"}).out,
            "a,b,log_prob\n7,10,-0.5\n7,11,-0.5\n");
  EXPECT_EQ(Ctl({"sample", "power", "--format", "json"}).out,
            "{\"model\":\"power@3\",\"seed\":99,\"columns\":[\"a\",\"b\"],\"rows\":[[99.0,0.0]]}\n");
  const std::string months = Write("months.csv", "month\n1\n2\n3\n");
  EXPECT_EQ(Ctl({"sample", "power", "--seed", "1", "--context", months}).out, "a,b\n1,0\n1,1\n1,2\n");
}

TEST_F(CtlTest, BadInputNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a,b,month\n1,2,3\n1,2\n", "line 3"},
      {"a,b,month\n1,x,3\n", "column 2"},
      {"[[1,2,3],[1,2]]", "row 1: has 2 numbers, row 0 has 3"},
      {"[[1,2,\"x\"]]", "row 0: column 2: \"x\" is no number"},
      {"[[1,2,3", "parse error"},
      {"{\"model\":\"power\"}", "no member \"rows\""},
      {"[]", "no rows"},
      {std::string("\x93NUMPY\x01\x00", 8), "standard input"},
  };
  for (const auto& [input, part] : cases) {
    const Outcome outcome = Ctl({"logprob", "power"}, input);
    EXPECT_EQ(outcome.code, 3) << input;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr(part))) << input;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
}

TEST_F(CtlTest, FilesThatCannotBeReadOrWrittenAreNamed) {
  const Outcome absent = Ctl({"logprob", "power", Path("absent.csv")});
  EXPECT_EQ(absent.code, 4);
  EXPECT_THAT(absent.err, AllOf(HasSubstr("absent.csv"), HasSubstr("No such file")));
  const Outcome folder = Ctl({"logprob", "power", folder_});
  EXPECT_EQ(folder.code, 3);
  EXPECT_THAT(folder.err, HasSubstr("Is a directory"));
  const Outcome unwritable = Ctl({"sample", "power", "-o", Path("no/such/folder.csv")});
  EXPECT_EQ(unwritable.code, 1);
  EXPECT_THAT(unwritable.err, HasSubstr("cannot write"));
}

}  // namespace
}  // namespace densityd::ctl
