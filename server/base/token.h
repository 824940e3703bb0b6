// Bearer tokens: what a client shows, and what a server keeps of it.
//
//   densityd_3f9a0c1e5b7d2846_<64 hexadecimal digits>
//
// The first number says which token it is and is no secret; the second is 256 random bits. A server keeps the first and
// the SHA-256 of the whole: with that much randomness a slow hash would add nothing.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace densityd {

/// A token that did not exist before. Never fails: a system without randomness ends the process.
std::string NewToken();

/// The part of a token that says which it is, 16 hexadecimal digits; empty where `token` has not the form of one.
std::string_view TokenId(std::string_view token);

/// The SHA-256 of a token, 64 lower-case hexadecimal digits.
std::string TokenDigest(std::string_view token);

/// Whether two texts are equal, in a time that depends on their lengths alone.
bool EqualInConstantTime(std::string_view a, std::string_view b);

}  // namespace densityd
