#include "client/lib/chunks.h"

#include "absl/strings/str_cat.h"

namespace densityd::client_internal {
namespace {

// Room for names, numbers and the framing of a message.
constexpr size_t kMessageOverhead = 2048;

absl::Status InChunk(const absl::Status& status, size_t begin) {
  absl::Status result(status.code(), absl::StrCat(status.message(), " (in the part that begins at row ", begin,
                                                  "; row numbers count from there)"));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

}  // namespace

absl::StatusOr<size_t> RowsPerRequest(const ClientOptions& options, size_t row_bytes, size_t fixed_bytes) {
  const size_t taken = fixed_bytes + kMessageOverhead;
  if (options.max_message_bytes < taken || options.max_message_bytes - taken < row_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("rows: one row takes ", taken + row_bytes,
                                                   " bytes, more than ClientOptions::max_message_bytes (",
                                                   options.max_message_bytes, ")"));
  }
  const size_t fitting = (options.max_message_bytes - taken) / std::max<size_t>(row_bytes, 1);
  return std::min(fitting, options.max_request_rows);
}

absl::Status ForEachChunk(size_t rows, size_t chunk_rows, absl::FunctionRef<absl::Status(size_t, size_t)> call) {
  for (size_t begin = 0; begin < rows; begin += std::min(chunk_rows, rows - begin)) {
    const absl::Status status = call(begin, std::min(chunk_rows, rows - begin));
    if (!status.ok()) return begin == 0 ? status : InChunk(status, begin);
  }
  return absl::OkStatus();
}

}  // namespace densityd::client_internal
