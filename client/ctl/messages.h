// Messages of the API as text.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"

namespace densityd::ctl {

/// Prints a message as protobuf JSON with the field names of the protos, on several lines.
absl::Status PrintJson(std::ostream& out, const google::protobuf::Message& message);

/// Prints messages as a JSON array.
template <typename Message>
absl::Status PrintJsonArray(std::ostream& out, const std::vector<Message>& messages) {
  out << "[";
  for (size_t i = 0; i < messages.size(); ++i) {
    out << (i == 0 ? "\n" : ",\n");
    if (absl::Status status = PrintJson(out, messages[i]); !status.ok()) return status;
  }
  out << "]\n";
  return absl::OkStatus();
}

/// "2026-05-01 12:30:00 UTC"; "-" where it is not set.
std::string FormatTime(const google::protobuf::Timestamp& time);

/// The values of an enum in lower case, as flags take them, without the unspecified one.
std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& type);

/// The number of the value that EnumNames calls `name`. Precondition: there is one.
int EnumNumber(const google::protobuf::EnumDescriptor& type, const std::string& name);

}  // namespace densityd::ctl
