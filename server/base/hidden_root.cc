#include "server/base/hidden_root.h"

#include <stdlib.h>

#include <algorithm>
#include <memory>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "google/rpc/error_details.pb.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

/// Whether a path could begin at `at`: not in the middle of a longer one.
bool IsBoundary(std::string_view text, size_t at) {
  if (at == 0) return true;
  const char before = text[at - 1];
  return before == ' ' || before == '"' || before == '\'' || before == '(' || before == ':' || before == '\n' ||
         before == '=';
}

template <typename Message, typename Change>
absl::Cord Changed(const absl::Cord& payload, Change change) {
  Message message;
  if (!message.ParseFromString(std::string(payload))) return absl::Cord();
  change(message);
  return absl::Cord(message.SerializeAsString());
}

}  // namespace

HiddenRoot::HiddenRoot(const std::string& root) {
  const auto add = [this](std::string path) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    path += '/';
    // "/" and "./" are no secrets, and in many words.
    if (path.size() > 2) prefixes_.push_back(std::move(path));
  };
  add(root);
  const std::unique_ptr<char, decltype(&free)> resolved(realpath(root.c_str(), nullptr), &free);
  if (resolved != nullptr) add(resolved.get());
  std::sort(prefixes_.begin(), prefixes_.end(),
            [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
}

std::string HiddenRoot::In(std::string_view text) const {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const auto begins_here = [&](const std::string& prefix) { return text.substr(i, prefix.size()) == prefix; };
    const auto prefix = std::find_if(prefixes_.begin(), prefixes_.end(), begins_here);
    if (prefix != prefixes_.end() && IsBoundary(text, i)) {
      i += prefix->size();
    } else {
      result += text[i++];
    }
  }
  return result;
}

absl::Status HiddenRoot::In(const absl::Status& status) const {
  if (status.ok() || prefixes_.empty()) return status;
  absl::Status hidden(status.code(), In(ToStd(status.message())));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    absl::Cord changed = payload;
    if (absl::EndsWith(url, "/google.rpc.ResourceInfo")) {
      changed = Changed<google::rpc::ResourceInfo>(payload, [this](auto& resource) {
        resource.set_resource_name(In(resource.resource_name()));
        resource.set_description(In(resource.description()));
      });
    } else if (absl::EndsWith(url, "/google.rpc.QuotaFailure")) {
      changed = Changed<google::rpc::QuotaFailure>(payload, [this](auto& quota) {
        for (auto& violation : *quota.mutable_violations()) violation.set_description(In(violation.description()));
      });
    } else if (absl::EndsWith(url, "/google.rpc.BadRequest")) {
      changed = Changed<google::rpc::BadRequest>(payload, [this](auto& bad) {
        for (auto& violation : *bad.mutable_field_violations()) violation.set_description(In(violation.description()));
      });
    }
    hidden.SetPayload(url, changed);
  });
  return hidden;
}

}  // namespace densityd
