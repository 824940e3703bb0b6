#include "server/training/table_file.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "server/base/beneath.h"
#include "server/base/errors.h"
#include "server/base/posix.h"
#include "server/base/table_stream.h"

namespace densityd::training {
namespace {

constexpr char kField[] = "file";

class TableFile final : public RowSource {
 public:
  TableFile(std::string root, std::string path) : root_(std::move(root)), path_(std::move(path)) {}

  absl::Status Measure() {
    return ReadBlocks([&](const Table& block) {
      if (rows_ == 0) {
        cols_ = block.cols;
        columns_ = block.columns;
      }
      rows_ += block.rows;
      return absl::OkStatus();
    });
  }

  uint64_t rows() const override { return rows_; }
  size_t cols() const override { return cols_; }
  const std::vector<std::string>& columns() const override { return columns_; }

  absl::Status Read(RowSink take) const override {
    return ReadBlocks([&](const Table& block) {
      if (block.cols != cols_) return FailedPrecondition("file", path_, "has other columns than when it was opened");
      return take(block.values);
    });
  }

  absl::StatusOr<FileStamp> Stamp() const override {
    const absl::StatusOr<FileDescriptor> fd = OpenBeneath(root_, kField, path_);
    if (!fd.ok()) return fd.status();
    return StampOf(fd->get(), path_);
  }

 private:
  absl::Status ReadBlocks(absl::FunctionRef<absl::Status(const Table&)> take) const {
    const absl::StatusOr<FileDescriptor> fd = OpenBeneath(root_, kField, path_);
    if (!fd.ok()) return fd.status();
    TableStream stream(path_, [&](char* to, size_t size) -> absl::StatusOr<size_t> {
      const ssize_t got = RetryInterrupted([&] { return read(fd->get(), to, size); });
      if (got < 0) return ErrnoStatus(errno, "read", path_);
      return static_cast<size_t>(got);
    });
    while (true) {
      const absl::StatusOr<Table> block = stream.Next();
      if (!block.ok()) return Annotate(block.status(), kField);
      if (block->rows == 0) return absl::OkStatus();
      if (absl::Status status = take(*block); !status.ok()) return status;
    }
  }

  const std::string root_;
  const std::string path_;
  uint64_t rows_ = 0;
  size_t cols_ = 0;
  std::vector<std::string> columns_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenTableFile(const std::string& root, const std::string& path) {
  auto file = std::make_unique<TableFile>(root, path);
  if (absl::Status status = file->Measure(); !status.ok()) return status;
  return file;
}

}  // namespace densityd::training
