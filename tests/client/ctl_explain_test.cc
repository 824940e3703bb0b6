// densityctl explain.
#include <limits>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class CtlExplainTest : public CtlTest {
 protected:
  CtlExplainTest() {
    server_.estimator.explain = [this](grpc::ServerContext&, const v1::ExplainRequest& request,
                                       v1::ExplainResponse& response) {
      ++calls_;
      response.mutable_model()->set_name("power");
      response.mutable_model()->set_version(3);
      const auto rows = request.rows().rows();
      for (uint64_t row = 0; row < rows; ++row) {
        Append(impossible_.empty() ? -7.25 : log_prob_, *response.mutable_log_prob()->mutable_f64_le());
        // The last column is the most unusual one.
        for (const uint32_t column : request.columns()) {
          if (!impossible_.empty()) {
            SayImpossible(column, response);
            continue;
          }
          Append(1.5 + column, *response.mutable_surprise()->mutable_f64_le());
          Append(0.2 / (1 + column), *response.mutable_tail_probability()->mutable_f64_le());
          Append(10, *response.mutable_median()->mutable_f64_le());
          Append(9, *response.mutable_lower()->mutable_f64_le());
          Append(11, *response.mutable_upper()->mutable_f64_le());
          Append(0.25, *response.mutable_error()->mutable_f64_le());
        }
      }
      if (request.chain_rule()) SayChain(rows, response);
      for (v1::Matrix* matrix :
           {response.mutable_surprise(), response.mutable_tail_probability(), response.mutable_median(),
            response.mutable_lower(), response.mutable_upper(), response.mutable_error()}) {
        matrix->set_rows(rows);
        matrix->set_cols(request.columns_size());
      }
      return grpc::Status::OK;
    };
  }

  /// b first, then a given b: or no order at all.
  void SayChain(uint64_t rows, v1::ExplainResponse& response) const {
    if (!has_order_) return response.set_no_chain_rule_because("spec.layers[1] (coupling) keeps to no order");
    response.add_chain_order(1);
    response.add_chain_order(0);
    response.mutable_chain_rule()->set_rows(rows);
    response.mutable_chain_rule()->set_cols(2);
    for (uint64_t row = 0; row < rows; ++row) {
      Append(4.25, *response.mutable_chain_rule()->mutable_f64_le());
      Append(3, *response.mutable_chain_rule()->mutable_f64_le());
    }
  }

  static void Append(double value, std::string& bytes) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  /// Of column `column` of a row in which those of impossible_ have values that cannot be.
  void SayImpossible(uint32_t column, v1::ExplainResponse& response) const {
    const double infinity = std::numeric_limits<double>::infinity();
    const double none = std::numeric_limits<double>::quiet_NaN();
    const bool is_one = impossible_.contains(column);
    const bool is_only = is_one && impossible_.size() == 1;
    Append(is_one ? infinity : none, *response.mutable_surprise()->mutable_f64_le());
    Append(is_one ? 0 : none, *response.mutable_tail_probability()->mutable_f64_le());
    Append(is_only ? 10 : none, *response.mutable_median()->mutable_f64_le());
    Append(is_only ? 9 : none, *response.mutable_lower()->mutable_f64_le());
    Append(is_only ? 11 : none, *response.mutable_upper()->mutable_f64_le());
    Append(is_only ? 0.25 : none, *response.mutable_error()->mutable_f64_le());
  }

  std::set<uint32_t> impossible_;                               ///< not empty: of every row
  double log_prob_ = -std::numeric_limits<double>::infinity();  ///< of such rows
  int calls_ = 0;
  bool has_order_ = true;
};

TEST_F(CtlExplainTest, ShowsTheMostUnusualColumnsFirst) {
  const Outcome outcome = Ctl({"explain", "power"}, "a,b,month\n5,2,1\n");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("Row 0: log p -7.250 nats by power@3"), HasSubstr("9 to 11")));
  EXPECT_LT(outcome.out.find("\nb "), outcome.out.find("\na "));
  EXPECT_THAT(Ctl({"explain", "power", "--top", "1"}, "a,b,month\n5,2,1\n").out, Not(HasSubstr("\na ")));
}

TEST_F(CtlExplainTest, SaysTheMostUnusualColumnInASentence) {
  const std::string rows = "a,b,month\n5,2.5,1\n";
  EXPECT_THAT(Ctl({"explain", "power"}, rows).out,
              HasSubstr("\nb is 2.5; expected 9 to 11 given the rest (p = 0.1)\n"));
  EXPECT_THAT(Ctl({"explain", "power", "--only", "a"}, rows).out,
              HasSubstr("\na is 5; expected 9 to 11 given the rest (p = 0.2)\n"));
}

TEST_F(CtlExplainTest, NamesTheColumnThatMakesTheRowImpossible) {
  impossible_ = {1};
  const std::string rows = "a,b,month\n5,-3,1\n";
  const Outcome outcome = Ctl({"explain", "power"}, rows);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("\nb is -3, which the model rules out; expected 9 to 11 given the rest\n"),
                    HasSubstr("\nNothing can be said of a: given the other columns no value is possible\n"),
                    Not(HasSubstr("nan"))));
  EXPECT_LT(outcome.out.find("\nb  "), outcome.out.find("\na  "));
  EXPECT_EQ(calls_, 1);
  // Also where it was not asked for: another call finds out.
  const Outcome only = Ctl({"explain", "power", "--only", "a"}, rows);
  EXPECT_THAT(only.out, AllOf(HasSubstr("\nb is -3, which the model rules out"), HasSubstr("said of a:"),
                              Not(HasSubstr("\nb  ")), Not(HasSubstr("nan"))));
  EXPECT_EQ(calls_, 3);
}

TEST_F(CtlExplainTest, NamesAllColumnsThatAreImpossible) {
  impossible_ = {0, 1};
  const std::string out = Ctl({"explain", "power"}, "a,b,month\n5,-3,1\n").out;
  EXPECT_THAT(out, AllOf(HasSubstr("\na is 5, which the model rules out\n"),
                         HasSubstr("\nb is -3, which the model rules out\n"), Not(HasSubstr("nan")),
                         Not(HasSubstr("Nothing can be said"))));
}

TEST_F(CtlExplainTest, SaysSoWhereNothingCanBeSaid) {
  impossible_ = {7};
  EXPECT_THAT(Ctl({"explain", "power"}, "a,b,month\n5,-3,1\n").out,
              AllOf(HasSubstr("\nNothing can be said of a, b: given the other columns"), Not(HasSubstr("nan"))));
  log_prob_ = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Ctl({"explain", "power"}, "a,b,month\n5,-3,1\n").out,
              HasSubstr("\nNothing can be said of a, b: log p is not a number at values of theirs"));
}

TEST_F(CtlExplainTest, WritesOneLinePerRowAndColumn) {
  const Outcome outcome = Ctl({"explain", "power", "--format", "csv", "--only", "b"}, "a,b,month\n5,2,1\n6,3,1\n");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out,
            "row,column,value,surprise,tail_probability,median,lower,upper,error\n"
            "0,1,2,2.5,0.1,10,9,11,0.25\n"
            "1,1,3,2.5,0.1,10,9,11,0.25\n");
}

TEST_F(CtlExplainTest, SplitsLogPByTheChainRuleWhereItIsAsked) {
  const Outcome outcome = Ctl({"explain", "power", "--chain"}, "a,b,month\n5,2,1\n6,3,1\n");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("in the order b, a"), HasSubstr("CHAIN"), HasSubstr("4.25")));
  EXPECT_EQ(outcome.out.find("in the order"), outcome.out.rfind("in the order")) << "once, not for each row";
  EXPECT_EQ(Ctl({"explain", "power", "--chain", "--format", "csv", "--only", "b"}, "a,b,month\n5,2,1\n").out,
            "row,column,value,surprise,tail_probability,median,lower,upper,error,chain_rule\n"
            "0,1,2,2.5,0.1,10,9,11,0.25,3\n");
  EXPECT_THAT(Ctl({"explain", "power"}, "a,b,month\n5,2,1\n").out, Not(HasSubstr("CHAIN")));
}

TEST_F(CtlExplainTest, SaysWhyThereAreNoTermsOfTheChainRule) {
  has_order_ = false;
  const Outcome outcome = Ctl({"explain", "power", "--chain"}, "a,b,month\n5,2,1\n");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("no terms of the chain rule: spec.layers[1] (coupling)"));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("Row 0"), Not(HasSubstr("CHAIN"))));
}

TEST_F(CtlExplainTest, ManyRowsGoInSeveralCalls) {
  std::string rows = "a,b,month\n";
  for (int i = 0; i < 150; ++i) rows += "5,2,1\n";
  const Outcome outcome = Ctl({"explain", "power"}, rows);
  EXPECT_EQ(calls_, 3);
  EXPECT_THAT(outcome.out, HasSubstr("Row 149:"));
}

TEST_F(CtlExplainTest, AnUnknownColumnIsNamedWithThoseThatThereAre) {
  const Outcome outcome = Ctl({"explain", "power", "--only", "volts"}, "a,b,month\n5,2,1\n");
  EXPECT_NE(outcome.code, 0);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("volts"), HasSubstr("a, b")));
}

}  // namespace
}  // namespace densityd::ctl
