// The file of grants: what it may hold, and what is said of what it may not.
#include "server/rpc/grants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/base/token.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Word(const std::string& token) {
  return absl::StrCat("token=", ToAbsl(TokenId(token)), ":", TokenDigest(token));
}

const absl::Time kNow = absl::FromCivil(absl::CivilSecond(2026, 11, 21), absl::UTCTimeZone());

TEST(Grants, AreFoundByTokenAndByCertificate) {
  const std::string token = NewToken();
  const auto grants = Grants::Parse("# people\n\nname=ci " + Word(token) +
                                        "  rights=infer,train models=power*,gas # until it moves\r\n"
                                        "name=dash certificate=dash.example.org rights=metrics\n",
                                    "grants");
  ASSERT_TRUE(grants.ok()) << grants.status();
  EXPECT_EQ(grants->size(), 2);
  const auto ci = grants->OfToken(token, kNow);
  ASSERT_TRUE(ci.ok()) << ci.status();
  EXPECT_EQ((*ci)->name, "ci");
  EXPECT_TRUE((*ci)->Has(Right::kInfer) && (*ci)->Has(Right::kTrain));
  EXPECT_FALSE((*ci)->Has(Right::kAdmin) || (*ci)->Has(Right::kMetrics));
  for (const char* model : {"power", "power-2", "gas"}) EXPECT_TRUE((*ci)->Covers(model)) << model;
  for (const char* model : {"", "gas2", "my-power", "*"}) EXPECT_FALSE((*ci)->Covers(model)) << model;
  const Grant* dash = grants->OfCertificate({"other", "dash.example.org"}, kNow);
  ASSERT_NE(dash, nullptr);
  EXPECT_EQ(dash->name, "dash");
  EXPECT_TRUE(dash->CoversAll());
  EXPECT_EQ(grants->OfCertificate({"dash.example.org.evil"}, kNow), nullptr);
}

TEST(Grants, RefuseOtherTokensAllWithTheSameWords) {
  const std::string token = NewToken();
  const auto grants = Grants::Parse("name=ci " + Word(token) + " rights=infer", "grants");
  ASSERT_TRUE(grants.ok());
  std::string wrong_secret = token;
  wrong_secret.back() = wrong_secret.back() == '0' ? '1' : '0';
  for (const std::string& other : {wrong_secret, NewToken(), std::string(), std::string("x"), TokenDigest(token),
                                   std::string(TokenId(token)), token + " "}) {
    const auto refused = grants->OfToken(other, kNow);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnauthenticated) << other;
    EXPECT_EQ(refused.status().message(), "the token is not valid") << other;
  }
}

TEST(Grants, HoldUntilTheDayOnWhichTheyExpire) {
  const std::string token = NewToken();
  const auto grants = Grants::Parse("name=ci expires=2026-11-22 rights=infer " + Word(token) +
                                        "\nname=b certificate=b rights=infer expires=2026-11-22",
                                    "grants");
  ASSERT_TRUE(grants.ok()) << grants.status();
  EXPECT_TRUE(grants->OfToken(token, kNow).ok());
  EXPECT_NE(grants->OfCertificate({"b"}, kNow), nullptr);
  const absl::Time later = kNow + absl::Hours(24);
  EXPECT_THAT(std::string(grants->OfToken(token, later).status().message()), HasSubstr("expired"));
  EXPECT_EQ(grants->OfCertificate({"b"}, later), nullptr);
}

TEST(Grants, MaySayWhatQuotaANameHas) {
  const auto grants = Grants::Parse(
      "name=a certificate=a rights=infer max_rows_per_second=100000 max_calls=8\n"
      "name=b certificate=b rights=infer max_calls=0 priority=batch\n"
      "name=a certificate=a2 rights=train max_rows_per_second=100000 max_calls=8\n",
      "grants");
  ASSERT_TRUE(grants.ok()) << grants.status();
  const Grant& a = *grants->OfCertificate({"a"}, kNow);
  EXPECT_EQ(a.max_rows_per_second, 100'000u);
  EXPECT_EQ(a.max_calls, 8u);
  const Grant& b = *grants->OfCertificate({"b"}, kNow);
  EXPECT_EQ(b.max_rows_per_second, std::nullopt);
  EXPECT_EQ(b.max_calls, 0u);
  EXPECT_TRUE(b.always_batch && !a.always_batch);
  const auto differs = Grants::Parse(
      "name=a certificate=a rights=infer max_calls=8\n"
      "name=a certificate=b rights=infer\n",
      "grants");
  EXPECT_EQ(differs.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(differs.status().message()), HasSubstr("line 2"));
}

TEST(Grants, PatternsMatchWithStarsAlone) {
  Grant grant;
  grant.models = {"a*b*c", "[x]", "d**"};
  for (const char* model : {"abc", "a1b2c", "abbcc", "aabbc", "d", "dd", "[x]"})
    EXPECT_TRUE(grant.Covers(model)) << model;
  for (const char* model : {"ab", "bc", "abcd", "x", "xd", "acb"}) EXPECT_FALSE(grant.Covers(model)) << model;
  EXPECT_FALSE(grant.CoversAll());
}

TEST(Grants, NameTheLineThatIsWrongAndNeverATokenInIt) {
  const std::string token = NewToken();
  const std::string good = Word(token);
  for (const std::string& line : {
           std::string("name=a rights=infer"),
           "rights=infer " + good,
           "name=a " + good,
           "name=a rights=fly " + good,
           "name=a rights= " + good,
           "name=a rights=infer models=, " + good,
           "name=a rights=infer certificate=c " + good,
           "name=a name=b rights=infer " + good,
           "name=a rights=infer colour=red " + good,
           "name=a rights=infer expires=tomorrow " + good,
           "name=a rights=infer priority=interactive " + good,
           "name=a rights=infer max_calls=many " + good,
           "name=a rights=infer max_calls=-1 " + good,
           "name=a rights=infer max_calls=1.5 " + good,
           "name=a rights=infer max_rows_per_second=18446744073709551616 " + good,
           "name=a rights=infer token=" + token,
           std::string("name=a rights=infer token=12:34"),
           std::string("hello"),
       }) {
    const auto grants = Grants::Parse("# a comment\n" + line, "grants.txt");
    EXPECT_EQ(grants.status().code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(grants.status().message()), HasSubstr("grants.txt, line 2")) << line;
    EXPECT_THAT(std::string(grants.status().message()), Not(HasSubstr(token))) << line;
  }
  const auto twice = Grants::Parse("name=a rights=infer " + good + "\nname=b rights=infer " + good, "grants.txt");
  EXPECT_THAT(std::string(twice.status().message()), HasSubstr("line 2"));
}

}  // namespace
}  // namespace densityd::rpc
