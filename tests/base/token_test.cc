#include "server/base/token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "server/base/sha256.h"

namespace densityd {
namespace {

TEST(Token, IsNewEachTime) {
  std::set<std::string> tokens;
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string token = NewToken();
    tokens.insert(token);
    ids.insert(std::string(TokenId(token)));
  }
  EXPECT_EQ(tokens.size(), 100);
  EXPECT_EQ(ids.size(), 100);
}

TEST(Token, HasAnIdThatIsNotItsSecret) {
  const std::string token = NewToken();
  EXPECT_THAT(token, ::testing::MatchesRegex("densityd_[0-9a-f]{16}_[0-9a-f]{64}"));
  EXPECT_EQ(TokenId(token), token.substr(9, 16));
  EXPECT_EQ(TokenDigest(token), Sha256Hex(token));
}

TEST(Token, OfAnotherFormHasNoId) {
  const std::string token = NewToken();
  for (const std::string& other :
       {std::string(), std::string("x"), token + "0", token.substr(1), "D" + token.substr(1),
        token.substr(0, 25) + "-" + token.substr(26), token.substr(0, 89) + "G", std::string(4096, 'a')}) {
    EXPECT_EQ(TokenId(other), "") << other;
  }
}

TEST(Token, EqualityIsThatOfTheBytes) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime("abc", "abc"));
  EXPECT_FALSE(EqualInConstantTime("abc", "abd"));
  EXPECT_FALSE(EqualInConstantTime("abc", "abcd"));
}

}  // namespace
}  // namespace densityd
