#include "server/base/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"

namespace densityd {
namespace {

class LoggingTest : public ::testing::Test {
 protected:
  void SetUp() override { Configure(LogLevel::kInfo, LogFormat::kJson); }
  void TearDown() override { ConfigureLogging({}); }
  void Configure(LogLevel level, LogFormat format) {
    ConfigureLogging({.level = level, .format = format, .stream = &stream_});
  }
  std::vector<std::string> Lines() const { return absl::StrSplit(stream_.str(), '\n', absl::SkipEmpty()); }

  std::ostringstream stream_;
};

TEST_F(LoggingTest, AnEventIsOneJsonObjectWithTypedFacts) {
  Log(LogLevel::kInfo, "model loaded",
      {{"model", "power"}, {"version", uint64_t{3}}, {"delta", -1}, {"seconds", 0.25}, {"cuda", false}});
  ASSERT_EQ(Lines().size(), 1u);
  const auto line = nlohmann::json::parse(Lines()[0]);
  EXPECT_EQ(line["event"], "model loaded");
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["model"], "power");
  EXPECT_EQ(line["version"], 3);
  EXPECT_EQ(line["delta"], -1);
  EXPECT_EQ(line["seconds"], 0.25);
  EXPECT_EQ(line["cuda"], false);
  EXPECT_THAT(line["time"].get<std::string>(),
              ::testing::MatchesRegex("[0-9-]+T[0-9]+:[0-9]+:[0-9]+\\.[0-9][0-9][0-9][0-9][0-9][0-9]Z"));
}

TEST_F(LoggingTest, OutsideTextCannotForgeALineOrBreakJson) {
  const std::string hostile("x\n{\"level\":\"error\"}\r\0\xff\xfe\x1b[31m", 29);
  Log(LogLevel::kInfo, "request", {{"model", hostile}});
  Log(LogLevel::kInfo, "not a number", {{"value", std::numeric_limits<double>::quiet_NaN()}});
  ASSERT_EQ(Lines().size(), 2u);
  for (const std::string& line : Lines()) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
}

TEST_F(LoggingTest, BracesInTextAreNoFormatDirectives) {
  Log(LogLevel::kInfo, "{} %v {0}", {{"text", "{}"}});
  EXPECT_EQ(nlohmann::json::parse(Lines().at(0))["event"], "{} %v {0}");
}

TEST_F(LoggingTest, WhatIsBelowTheLevelIsDropped) {
  Configure(LogLevel::kWarning, LogFormat::kJson);
  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kWarning, "loud");
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_EQ(nlohmann::json::parse(Lines()[0])["event"], "loud");
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
}

TEST_F(LoggingTest, TextIsForPeople) {
  Configure(LogLevel::kDebug, LogFormat::kText);
  Log(LogLevel::kDebug, "model loaded", {{"model", "power\n"}, {"version", 3}});
  EXPECT_THAT(stream_.str(), ::testing::HasSubstr(" debug model loaded  model=\"power\\n\"  version=3\n"));
}

TEST_F(LoggingTest, LinesOfThreadsNeverMix) {
  constexpr int kThreads = 4, kLines = 200;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([thread] {
      for (int i = 0; i < kLines; ++i) Log(LogLevel::kInfo, "event", {{"thread", thread}, {"i", i}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(Lines().size(), size_t{kThreads * kLines});
  for (const std::string& line : Lines()) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
}

TEST(ParseLogLevelTest, AcceptsTheFourNamesOnly) {
  EXPECT_EQ(ParseLogLevel("--log-level", "debug").value(), LogLevel::kDebug);
  EXPECT_EQ(ParseLogLevel("--log-level", "error").value(), LogLevel::kError);
  const absl::Status status = ParseLogLevel("--log-level", "loud").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "--log-level: \"loud\" is none of debug, info, warning, error");
}

}  // namespace
}  // namespace densityd
