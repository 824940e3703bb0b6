// Presets from their text.
#pragma once

#include <cstdint>
#include <string>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/spec.h"

namespace densityd::flow {

inline density::v1::Preset ParsePreset(const std::string& text) {
  density::v1::Preset preset;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &preset)) << text;
  return preset;
}

inline density::v1::FlowSpec Expand(const std::string& preset, uint32_t features = 4, uint32_t context = 0) {
  const auto spec = ExpandPreset(ParsePreset(preset), features, context);
  EXPECT_TRUE(spec.ok()) << preset << ": " << spec.status();
  return spec.value_or(density::v1::FlowSpec());
}

/// Why `preset` is INVALID_ARGUMENT.
inline std::string PresetRefusal(const std::string& preset, uint32_t features = 4) {
  const absl::Status status = ExpandPreset(ParsePreset(preset), features, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << preset;
  return std::string(status.message());
}

}  // namespace densityd::flow
