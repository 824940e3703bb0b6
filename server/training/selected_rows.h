// Rows of a training that need not fit into memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/base/file_system.h"
#include "server/training/epoch_order.h"

namespace densityd::training {

/// Where a training keeps its own copies of rows: files without names, so that nobody else's change reaches them.
struct ScratchSpace {
  FileSystem* files = nullptr;
  std::string folder;
};

/// Selected columns of rows: row-major (rows, D + C), the features first. A view of what `memory` holds.
struct SelectedRows {
  size_t rows = 0;
  absl::Span<const double> values;
  std::shared_ptr<const void> memory;
};

/// Numbers that are written once, in order, and then read anywhere. `Number` is a float or double.
template <typename Number>
class ScratchNumbers {
 public:
  /// RESOURCE_EXHAUSTED where the disk is full.
  static absl::StatusOr<std::unique_ptr<ScratchNumbers>> Create(const ScratchSpace& space) {
    absl::StatusOr<std::unique_ptr<ScratchFile>> file = space.files->CreateScratch(space.folder);
    if (!file.ok()) return file.status();
    return std::unique_ptr<ScratchNumbers>(new ScratchNumbers(*std::move(file)));
  }

  absl::Status Append(absl::Span<const Number> numbers) {
    buffer_.insert(buffer_.end(), numbers.begin(), numbers.end());
    return buffer_.size() < kBufferNumbers ? absl::OkStatus() : Flush();
  }

  /// Once, after the last Append.
  absl::Status Finish() {
    if (absl::Status status = Flush(); !status.ok()) return status;
    buffer_.shrink_to_fit();
    const absl::StatusOr<std::string_view> bytes = file_->Map();
    if (!bytes.ok()) return bytes.status();
    // Pages are aligned for every number.
    numbers_ = {reinterpret_cast<const Number*>(bytes->data()), bytes->size() / sizeof(Number)};
    return absl::OkStatus();
  }

  /// All of them, after Finish.
  absl::Span<const Number> numbers() const { return numbers_; }

 private:
  static constexpr size_t kBufferNumbers = size_t{1} << 17;

  explicit ScratchNumbers(std::unique_ptr<ScratchFile> file) : file_(std::move(file)) {}

  absl::Status Flush() {
    absl::Status status =
        file_->Append({reinterpret_cast<const char*>(buffer_.data()), buffer_.size() * sizeof(Number)});
    buffer_.clear();
    return status;
  }

  const std::unique_ptr<ScratchFile> file_;
  std::vector<Number> buffer_;
  absl::Span<const Number> numbers_;
};

/// Brings rows of a file, which is mapped, into memory before they are needed.
class RowsOnDisk {
 public:
  RowsOnDisk() = default;
  /// `rows` rows of `row_bytes` each, from `begin` on. They outlive this.
  RowsOnDisk(const void* begin, size_t rows, size_t row_bytes);

  /// Asks the system to read these ranges soon. Once asked it brings no neighbours any more with a row that is not
  /// there when it is needed: they would take the place of rows that will be.
  void Expect(absl::Span<const RowRange> ranges);

 private:
  const char* begin_ = nullptr;
  size_t rows_ = 0;
  size_t row_bytes_ = 0;
  bool are_read_anywhere_ = false;
};

}  // namespace densityd::training
