#include "server/telemetry/trace_context.h"

#include <gtest/gtest.h>

#include <string>

namespace densityd::telemetry {
namespace {

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kParent[] = "b7ad6b7169203331";

std::string Header(const std::string& version = "00", const std::string& trace = kTrace,
                   const std::string& parent = kParent, const std::string& flags = "01") {
  return version + "-" + trace + "-" + parent + "-" + flags;
}

TEST(Traceparent, GivesTheIds) {
  const auto context = ParseTraceparent(Header());
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->trace_id, kTrace);
  EXPECT_EQ(context->parent_id, kParent);
}

TEST(Traceparent, OfALaterVersionMayHaveMoreFields) {
  EXPECT_TRUE(ParseTraceparent(Header("cc") + "-what-comes").has_value());
  EXPECT_FALSE(ParseTraceparent(Header("cc") + "what-comes").has_value());
  EXPECT_FALSE(ParseTraceparent(Header("00") + "-what-comes").has_value());
}

TEST(Traceparent, ThatIsMalformedIsNoTrace) {
  const std::string zeros(32, '0');
  for (const std::string& header :
       {std::string(), std::string("00"), Header("ff"), Header("0x"), Header("00", zeros),
        Header("00", kTrace, std::string(16, '0')), Header("00", "0AF7651916CD43DD8448EB211C80319C"),
        Header("00", kTrace, kParent, "zz"), Header() + "0", std::string(55, '-')}) {
    EXPECT_FALSE(ParseTraceparent(header).has_value()) << header;
  }
}

TEST(Traceparent, EveryTruncationIsNoTrace) {
  const std::string header = Header();
  for (size_t length = 0; length < header.size(); ++length) {
    EXPECT_FALSE(ParseTraceparent(header.substr(0, length)).has_value()) << length;
  }
}

}  // namespace
}  // namespace densityd::telemetry
