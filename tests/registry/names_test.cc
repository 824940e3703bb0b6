#include "server/registry/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace densityd::registry {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// What must never come near a path, whatever kind of name it is given as.
std::vector<std::string> HostileNames() {
  return {"",
          ".",
          "..",
          "../x",
          "a/b",
          "/etc/passwd",
          "a\\b",
          ".tmp",
          "a.",
          "-x",
          "_x",
          "A",
          "a b",
          "a\n",
          "~",
          "$HOME",
          "a;b",
          "a%2e",
          "%00",
          std::string("a\0b", 3),
          std::string(1, '\0'),
          std::string(4096, 'a'),
          std::string(129, 'a'),
          "mod\xC3\xA9le",  // é
          "\xD0\xB0",       // Cyrillic а
          "a\xE2\x80\xAE"
          "b",  // right-to-left override
          "a\xEF\xBC\x8F"
          "b",  // full-width slash
          "a\xC0\xAF"
          "b",  // overlong slash
          "\xFF\xFE"};
}

TEST(NamesTest, GoodNamesPass) {
  for (const std::string& name : {std::string("power"), std::string("0"), std::string("a..b"), std::string("a.b_c-d"),
                                  std::string(128, 'z'), std::string("a-"), std::string("a_")}) {
    EXPECT_TRUE(CheckModelName("model", name).ok()) << name;
  }
  EXPECT_TRUE(CheckAliasName("alias", "stable").ok());
  EXPECT_TRUE(CheckAliasName("alias", std::string(64, 'a')).ok());
  EXPECT_TRUE(CheckId("id", "training-0a1b").ok());
}

TEST(NamesTest, HostileNamesAreRefusedEverywhereWithTheirBytesEscaped) {
  for (const std::string& name : HostileNames()) {
    for (const absl::Status& status :
         {CheckModelName("model", name), CheckAliasName("model", name), CheckId("model", name),
          ParseModelReference("model", name).status(), ParseModelReference("model", "a@" + name).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
      EXPECT_THAT(std::string(status.message()), StartsWith("model: \""));
      EXPECT_LT(status.message().size(), 600u);
      for (char c : status.message().substr(0, 20)) EXPECT_TRUE(c >= ' ' && c <= '~') << status;
    }
  }
}

TEST(NamesTest, AliasesAndIdsBeginWithALetter) {
  EXPECT_FALSE(CheckAliasName("alias", "3").ok());
  EXPECT_FALSE(CheckAliasName("alias", std::string(65, 'a')).ok());
  EXPECT_FALSE(CheckAliasName("alias", "a.b").ok());
  EXPECT_FALSE(CheckId("id", "1a").ok());
  EXPECT_FALSE(CheckId("id", "a_b").ok());
}

TEST(ModelReferenceTest, IsTakenApart) {
  const auto plain = ParseModelReference("model", "power");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->name, "power");
  EXPECT_EQ(plain->version, std::nullopt);
  EXPECT_EQ(plain->alias, "latest");
  const auto version = ParseModelReference("model", "power@3");
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(version->version, 3u);
  EXPECT_EQ(version->alias, "");
  EXPECT_EQ(ParseModelReference("model", "power@stable")->alias, "stable");
}

TEST(ModelReferenceTest, AVersionHasOneSpelling) {
  for (const char* text : {"0", "03", "+3", "-3", "3.0", " 3", "3 ", "0x3", "1e3", "18446744073709551616",
                           "1000000000000000000", "99999999999999999999999999"}) {
    EXPECT_EQ(ParseVersionNumber(text), std::nullopt) << text;
    const absl::Status status = ParseModelReference("model", std::string("power@") + text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(ParseVersionNumber("999999999999999999"), kMaxVersion);
}

TEST(ModelReferenceTest, SeveralSignsAreRefused) {
  EXPECT_FALSE(ParseModelReference("model", "power@1@2").ok());
  EXPECT_THAT(std::string(ParseModelReference("model", "power@").status().message()), HasSubstr("after @"));
}

}  // namespace
}  // namespace densityd::registry
