#include "tests/base/temp_folder.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

namespace densityd::testing {
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::cerr << what << '\n';
  std::abort();
}

}  // namespace

TempFolder::TempFolder() {
  // In memory where there is a place for it: tests of durability sync thousands of files.
  const bool chosen = std::getenv("TMPDIR") != nullptr;
  const bool in_memory = !chosen && access("/dev/shm", R_OK | W_OK | X_OK) == 0;
  const std::filesystem::path parent = in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
  path_ = (parent / "densityd-test-XXXXXX").string();
  if (mkdtemp(path_.data()) == nullptr) Die("cannot make " + path_);
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempFolder::Path(std::string_view name) const { return path_ + "/" + std::string(name); }

void WriteFile(const std::string& path, std::string_view bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) Die("cannot write " + path);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Die("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace densityd::testing
