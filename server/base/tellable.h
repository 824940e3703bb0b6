// Text of others in messages.
#pragma once

#include <string>
#include <string_view>

namespace densityd {

/// `text` for a message, whoever wrote it: bytes are escaped where it is not UTF-8, which protobuf refuses to carry,
/// and what is longer than `limit` bytes is cut and its length given, so that a client accepts the answer's metadata.
std::string Tellable(std::string_view text, size_t limit = 1024);

}  // namespace densityd
