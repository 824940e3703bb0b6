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

absl::Status WriteOutput(const std::string& path, std::string_view content, std::ostream& out) {
  errno = 0;
  std::ofstream file;
  if (path != "-") file.open(path, std::ios::binary | std::ios::trunc);
  std::ostream& stream = path == "-" ? out : file;
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.flush();
  if (stream) return absl::OkStatus();
  return absl::UnknownError(
      absl::StrCat("cannot write ", path == "-" ? "the standard output" : path, ": ", std::strerror(errno)));
}

}  // namespace densityd::ctl
