// Reads lists that the server gives page by page.
#pragma once

#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace densityd::client_internal {

/// All items of all pages. `get(request)` returns one page; `items(page)` points at its repeated field of `Item`.
template <typename Item, typename Request, typename Get, typename Items>
absl::StatusOr<std::vector<Item>> AllPages(Request request, Get get, Items items) {
  std::vector<Item> all;
  while (true) {
    auto page = get(request);
    if (!page.ok()) return page.status();
    for (Item& item : *items(*page)) all.push_back(std::move(item));
    // A token that does not move would mean an endless list.
    if (page->next_page_token().empty() || page->next_page_token() == request.page_token()) return all;
    request.set_page_token(page->next_page_token());
  }
}

}  // namespace densityd::client_internal
