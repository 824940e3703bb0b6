#include "server/flow/context_use.h"

#include <string>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

density::v1::FlowSpec Expand(const std::string& options, uint32_t context_features) {
  density::v1::Preset preset;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(options, &preset)) << options;
  const auto spec = ExpandPreset(preset, 4, context_features);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

TEST(ReadsContext, WhatHasANetworkDoesAndWhatHasNoneDoesNot) {
  for (const std::string name :
       {"elementwise", "nice", "realnvp", "maf", "iaf", "nsf_coupling", "nsf_ar", "circular_nsf", "naf",
        "gaussianization", "planar", "radial", "residual", "ffjord", "flow_matching"}) {
    EXPECT_TRUE(ReadsContext(Expand("name: '" + name + "'", 2))) << name;
  }
  for (const std::string name : {"affine", "sylvester"}) {
    EXPECT_FALSE(ReadsContext(Expand("name: '" + name + "'", 2))) << name;
    EXPECT_TRUE(ReadsContext(Expand("name: '" + name + "'", 0))) << "there is none: " << name;
  }
  for (const std::string name : {"glow", "realnvp_image"}) {
    EXPECT_TRUE(ReadsContext(Expand("name: '" + name + "' levels: 1 image { channels: 1 height: 2 width: 2 }", 2)));
  }
}

TEST(ReadsContext, ABaseCounts) {
  EXPECT_TRUE(ReadsContext(Expand("name: 'affine' base { conditional_diagonal_normal {} }", 2)));
  EXPECT_FALSE(ReadsContext(Expand("name: 'affine' base { student_t {} }", 2)));
}

TEST(ReadsContext, TheEncodingOfAContextThatNobodyReadsDoesNotCount) {
  const std::string encoding = " context_encoding { columns { kind: CATEGORICAL } columns { scaling: LOG } }";
  EXPECT_FALSE(ReadsContext(Expand("name: 'affine'" + encoding, 2)));
  EXPECT_TRUE(ReadsContext(Expand("name: 'maf'" + encoding, 2)));
}

}  // namespace
}  // namespace densityd::flow
