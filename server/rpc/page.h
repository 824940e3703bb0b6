// Pages of a list, by tokens that say what the page before ended with: nothing is lost or repeated when the list
// changes in between.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/timestamp.pb.h"

namespace densityd::rpc {

inline constexpr uint32_t kDefaultPageSize = 100;
inline constexpr uint32_t kMaxPageSize = 1000;

template <typename Item>
struct Page {
  std::vector<Item> items;
  std::string next_token;  ///< empty on the last page
};

/// Reads a `page_token`: the key that the page before ended with. "" for the first page. INVALID_ARGUMENT.
absl::StatusOr<std::string> DecodePageToken(std::string_view token);
std::string EncodePageToken(std::string_view key);
/// `page_size` with its default. INVALID_ARGUMENT above the limit.
absl::StatusOr<uint32_t> CheckPageSize(uint32_t page_size);

/// Key that sorts newest first, then by id.
std::string NewestFirstKey(const google::protobuf::Timestamp& time, std::string_view id);

/// The page of `items` after the one that `token` ended. `key_of` gives each item a distinct key; pages ascend by key.
template <typename Item, typename KeyOf>
absl::StatusOr<Page<Item>> TakePage(std::vector<Item> items, uint32_t page_size, std::string_view token, KeyOf key_of) {
  const absl::StatusOr<uint32_t> size = CheckPageSize(page_size);
  if (!size.ok()) return size.status();
  const absl::StatusOr<std::string> after = DecodePageToken(token);
  if (!after.ok()) return after.status();
  std::vector<std::pair<std::string, Item*>> keyed;
  for (Item& item : items) {
    std::string key = key_of(item);
    if (token.empty() || key > *after) keyed.emplace_back(std::move(key), &item);
  }
  std::sort(keyed.begin(), keyed.end());
  Page<Item> page;
  for (const auto& [key, item] : keyed) {
    if (page.items.size() == *size) break;
    page.items.push_back(std::move(*item));
  }
  if (page.items.size() < keyed.size()) page.next_token = EncodePageToken(keyed[page.items.size() - 1].first);
  return page;
}

}  // namespace densityd::rpc
