#include "server/serving/admission.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::serving {
namespace {

constexpr double kWeightOfNewest = 0.1;
constexpr absl::Duration kUnmeasuredRetry = absl::Seconds(1);
constexpr absl::Duration kShortestRetry = absl::Milliseconds(10);
constexpr absl::Duration kLongestRetry = absl::Seconds(60);

absl::Status TooLarge(std::string_view unit, size_t amount, size_t limit) {
  return ResourceExhausted("queue",
                           absl::StrCat("the request has ", amount, " ", absl::string_view(unit.data(), unit.size()),
                                        "; the queue holds at most ", limit, ": send it in parts"));
}

absl::Status Full(std::string_view unit, size_t waiting, size_t limit, absl::Duration retry_after) {
  return ResourceExhausted("queue",
                           absl::StrCat("the queue is full: ", waiting, " of at most ", limit, " ",
                                        absl::string_view(unit.data(), unit.size()), " wait"),
                           retry_after);
}

}  // namespace

absl::Status Admission::CheckRoom(size_t rows) const {
  const size_t waiting = this->rows();
  return rows <= max_rows_ && waiting <= max_rows_ - rows ? absl::OkStatus() : TooManyRows(rows, waiting);
}

absl::Status Admission::CheckAnyRoom() const {
  const size_t waiting = this->rows();
  if (waiting < max_rows_) return absl::OkStatus();
  const double usual = std::min(usual_rows_.load(std::memory_order_relaxed), static_cast<double>(max_rows_));
  return TooManyRows(static_cast<size_t>(usual), waiting);
}

absl::Status Admission::TooManyRows(size_t rows, size_t waiting) const {
  if (rows > max_rows_) return TooLarge("rows", rows, max_rows_);
  const double excess = static_cast<double>(rows) + static_cast<double>(waiting) - static_cast<double>(max_rows_);
  return Full("rows", waiting, max_rows_, TimeForRowsToLeave(excess));
}

absl::Status Admission::Admit(RowJob& job, const char** refused_by) {
  const size_t rows = job.span.rows;
  *refused_by = "rows";
  if (!AddWithin(rows_, rows, max_rows_)) return TooManyRows(rows, this->rows());
  *refused_by = "bytes";
  if (!memory_.Reserve(job.bytes, job.memory)) {
    rows_.fetch_sub(rows, std::memory_order_relaxed);
    return TooManyBytes(job.bytes);
  }
  *refused_by = nullptr;
  // As below, concurrent jobs may overwrite each other's share.
  const double usual = usual_rows_.load(std::memory_order_relaxed);
  usual_rows_.store(usual + kWeightOfNewest * (static_cast<double>(rows) - usual), std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status Admission::TooManyBytes(size_t bytes) const {
  const size_t max_bytes = memory_.ceiling();
  if (bytes > max_bytes) return TooLarge("bytes", bytes, max_bytes);
  const size_t waiting = this->bytes();
  const double rows_per_byte = static_cast<double>(this->rows()) / static_cast<double>(std::max<size_t>(waiting, 1));
  const auto retry_after = [&](const MemoryBudget& budget) {
    const double excess =
        static_cast<double>(bytes) + static_cast<double>(budget.used()) - static_cast<double>(budget.ceiling());
    return TimeForRowsToLeave(std::max(excess, 0.0) * rows_per_byte);
  };
  const MemoryBudget* whole = memory_.whole();
  if (whole == nullptr || waiting > max_bytes - bytes) {
    return Full("bytes", waiting, max_bytes, retry_after(memory_));
  }
  return ResourceExhausted("memory",
                           absl::StrCat("the server's memory is full: models, requests and other uses have ",
                                        whole->used(), " of ", whole->ceiling(), " bytes (--max-memory)"),
                           retry_after(*whole));
}

absl::Status Admission::Hold(size_t bytes, Reservation& held) {
  return memory_.Reserve(bytes, held) ? absl::OkStatus() : TooManyBytes(bytes);
}

void Admission::Release(size_t rows) { rows_.fetch_sub(rows, std::memory_order_relaxed); }

void Admission::RecordRun(size_t rows, double seconds) {
  const double newest = seconds / static_cast<double>(rows);
  const double old = seconds_per_row_.load(std::memory_order_relaxed);
  // Concurrent runs may overwrite each other's share: a moving mean does not need every one of them.
  seconds_per_row_.store(old == 0 ? newest : old + kWeightOfNewest * (newest - old), std::memory_order_relaxed);
}

absl::Duration Admission::TimeForRowsToLeave(double rows) const {
  const double seconds_per_row = seconds_per_row_.load(std::memory_order_relaxed);
  if (seconds_per_row == 0) return kUnmeasuredRetry;
  return std::clamp(absl::Seconds(rows * seconds_per_row / workers_), kShortestRetry, kLongestRetry);
}

}  // namespace densityd::serving
