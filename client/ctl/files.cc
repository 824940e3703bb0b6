#include "client/ctl/files.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace densityd::ctl {
namespace {

std::string ReadAll(std::istream& stream) {
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::string& path, std::istream& in) {
  if (path == "-") return ReadAll(in);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  // Opening a folder succeeds; reading it does not.
  if (file && (file.peek(), !file.bad())) return ReadAll(file);
  const int error = errno;
  const std::string message = absl::StrCat("cannot read ", path, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

}  // namespace densityd::ctl
