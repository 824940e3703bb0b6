#include "server/training/record_file.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"

namespace densityd::training {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kChecksumBytes = 16;
constexpr size_t kRecordHeaderBytes = kLengthBytes + kChecksumBytes;

std::string Checksum(std::string_view length, std::string_view payload) {
  Sha256 hash;
  hash.Update(length);
  hash.Update(payload);
  return hash.HexDigest().substr(0, kChecksumBytes);
}

uint32_t ReadLength(std::string_view bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return length;
}

}  // namespace

std::string EncodeRecord(std::string_view payload) {
  std::string record;
  record.reserve(kRecordHeaderBytes + payload.size());
  for (size_t i = 0; i < kLengthBytes; ++i) record.push_back(static_cast<char>((payload.size() >> (8 * i)) & 0xff));
  record += Checksum(record, payload);
  record += payload;
  return record;
}

absl::Status RecordParser::Parse(std::string_view bytes, std::vector<std::string>& payloads) {
  if (offset_ == 0) {
    const size_t known = std::min(bytes.size(), kRecordFileMagic.size());
    if (bytes.substr(0, known) != kRecordFileMagic.substr(0, known)) {
      return DataLoss(file_, "header", "is no densityd record file");
    }
    if (bytes.size() < kRecordFileMagic.size()) return absl::OkStatus();
    bytes.remove_prefix(kRecordFileMagic.size());
    offset_ = kRecordFileMagic.size();
  }
  while (bytes.size() >= kRecordHeaderBytes) {
    const uint32_t length = ReadLength(bytes);
    const std::string section = absl::StrCat("record at byte ", offset_);
    if (length > kMaxRecordBytes) return DataLoss(file_, section, absl::StrCat("claims ", length, " bytes"));
    if (bytes.size() - kRecordHeaderBytes < length) return absl::OkStatus();
    const std::string_view payload = bytes.substr(kRecordHeaderBytes, length);
    if (bytes.substr(kLengthBytes, kChecksumBytes) != Checksum(bytes.substr(0, kLengthBytes), payload)) {
      return DataLoss(file_, section, "fails its checksum");
    }
    payloads.emplace_back(payload);
    bytes.remove_prefix(kRecordHeaderBytes + length);
    offset_ += kRecordHeaderBytes + length;
  }
  return absl::OkStatus();
}

absl::Status WriteRecordFile(FileSystem& files, const std::string& path, std::string_view payload) {
  return WriteFileAtomically(files, path, std::string(kRecordFileMagic) + EncodeRecord(payload));
}

absl::Status WriteRecordFile(FileSystem& files, const std::string& path, std::string_view payload,
                             const std::string& temporary) {
  return WriteFileAtomically(files, path, std::string(kRecordFileMagic) + EncodeRecord(payload), temporary);
}

absl::StatusOr<std::string> ReadRecordFile(FileSystem& files, const std::string& path) {
  constexpr uint64_t kMaxBytes = kMaxRecordBytes + kRecordFileMagic.size() + kRecordHeaderBytes;
  absl::StatusOr<std::string> bytes = files.Read(path, kMaxBytes);
  if (!bytes.ok()) return bytes.status();
  RecordParser parser(path);
  std::vector<std::string> payloads;
  if (absl::Status status = parser.Parse(*bytes, payloads); !status.ok()) return status;
  if (payloads.size() != 1 || parser.offset() != bytes->size()) {
    return DataLoss(path, "", "does not hold exactly one record; it was cut short or overwritten");
  }
  return std::move(payloads.front());
}

}  // namespace densityd::training
