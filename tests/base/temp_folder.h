// A folder of a test's own.
#pragma once

#include <string>
#include <string_view>

namespace densityd::testing {

/// Makes a fresh folder and removes it, with all below it, when destroyed.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  /// `name` in this folder.
  std::string Path(std::string_view name) const;

 private:
  std::string path_;
};

/// Writes a file, making its folders. Aborts the test program on an error.
void WriteFile(const std::string& path, std::string_view bytes);
/// The bytes of a file. Aborts the test program on an error.
std::string ReadFile(const std::string& path);

}  // namespace densityd::testing
