#include "server/rpc/page.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace densityd::rpc {
namespace {

std::string Self(const std::string& item) { return item; }

std::vector<std::string> ReadAll(const std::vector<std::string>& items, uint32_t page_size) {
  std::vector<std::string> all;
  std::string token;
  do {
    const auto page = TakePage(items, page_size, token, Self);
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return all;
    EXPECT_LE(page->items.size(), page_size);
    all.insert(all.end(), page->items.begin(), page->items.end());
    token = page->next_token;
  } while (!token.empty());
  return all;
}

TEST(Pages, TogetherAreTheWholeListInOrder) {
  const std::vector<std::string> items = {"d", "a", "c", "e", "b"};
  for (const uint32_t page_size : {1u, 2u, 3u, 5u, 100u}) {
    EXPECT_EQ(ReadAll(items, page_size), (std::vector<std::string>{"a", "b", "c", "d", "e"})) << page_size;
  }
  EXPECT_TRUE(ReadAll({}, 3).empty());
}

TEST(Pages, NeitherLoseNorRepeatWhenTheListChanges) {
  const auto first = TakePage(std::vector<std::string>{"a", "c", "e"}, 2, "", Self);
  ASSERT_TRUE(first.ok());
  // "c", which the first page ended with, is gone; "b" is new, and belongs to the page that was read already.
  const auto second = TakePage(std::vector<std::string>{"a", "b", "d", "e"}, 2, first->next_token, Self);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->items, (std::vector<std::string>{"d", "e"}));
  EXPECT_TRUE(second->next_token.empty());
}

TEST(Pages, RefuseForeignTokensAndSizesBeyondTheLimit) {
  for (const std::string& token : {std::string("a"), std::string("%%%"), std::string("MTI"), std::string(5000, 'A')}) {
    EXPECT_EQ(TakePage(std::vector<std::string>{"a"}, 1, token, Self).status().code(),
              absl::StatusCode::kInvalidArgument)
        << token;
  }
  EXPECT_EQ(TakePage(std::vector<std::string>{"a"}, 1001, "", Self).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(TakePage(std::vector<std::string>{"a"}, 1000, "", Self).ok());
}

TEST(NewestFirstKey, SortsByTimeThenId) {
  google::protobuf::Timestamp old, recent;
  old.set_seconds(1'700'000'000);
  recent.set_seconds(1'700'000'000);
  recent.set_nanos(1);
  EXPECT_LT(NewestFirstKey(recent, "z"), NewestFirstKey(old, "a"));
  EXPECT_LT(NewestFirstKey(old, "a"), NewestFirstKey(old, "b"));
}

}  // namespace
}  // namespace densityd::rpc
