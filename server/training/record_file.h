// Files of checksummed records: how a training's request, events and outcome are kept.
//
// Format, all integers little-endian:
//   file   = magic record*
//   magic  = "DNSREC1\n"                                                                    8 bytes
//   record = u32 payload bytes, at most 64 MiB                                              4 bytes
//            first 16 hexadecimal digits of the SHA-256 of (the 4 bytes above, payload)    16 bytes
//            payload
// A file that grows while it is read, or whose writer died, may end within a record: that tail is not an error, and is
// read again when more is there. A whole record that fails its checksum is DATA_LOSS; a file that was not synced may
// end in such ones, or in zeros, when the machine stopped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/file_system.h"

namespace densityd::training {

inline constexpr std::string_view kRecordFileMagic = "DNSREC1\n";
inline constexpr uint64_t kMaxRecordBytes = uint64_t{64} << 20;

/// A record's bytes. Precondition: payload.size() <= kMaxRecordBytes.
std::string EncodeRecord(std::string_view payload);

/// Takes a record file apart as its bytes arrive. Not thread-safe.
class RecordParser {
 public:
  /// `file` is the name for messages.
  explicit RecordParser(std::string file) : file_(std::move(file)) {}

  /// Appends the payloads of all whole records in `bytes`, the file's content from offset() on, to `payloads`.
  /// DATA_LOSS with the offset where the magic, a length or a checksum is wrong; the records before it are appended,
  /// and every later call fails alike.
  absl::Status Parse(std::string_view bytes, std::vector<std::string>& payloads);

  /// Bytes of the file that were understood.
  uint64_t offset() const { return offset_; }

 private:
  std::string file_;
  uint64_t offset_ = 0;
};

/// Writes a file with one record, all or nothing.
absl::Status WriteRecordFile(FileSystem& files, const std::string& path, std::string_view payload);
/// The same with `temporary`, see WriteFileAtomically.
absl::Status WriteRecordFile(FileSystem& files, const std::string& path, std::string_view payload,
                             const std::string& temporary);

/// Reads a file with exactly one record. DATA_LOSS where it is damaged, cut short or has more than one.
absl::StatusOr<std::string> ReadRecordFile(FileSystem& files, const std::string& path);

}  // namespace densityd::training
