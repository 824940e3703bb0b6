// Specs drawn at random: any layers in any order, on any preprocessing, base and context.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {

/// The stream of std::mt19937_64 is fixed by the standard, so a seed names one spec everywhere.
class SpecGenerator {
 public:
  /// With `only_identities`, of layers alone that start as the identity.
  explicit SpecGenerator(uint64_t seed, bool only_identities = false)
      : random_(seed), only_identities_(only_identities) {}

  /// Of depth 1 … 8. The base and preprocessing have the support that suits the layers.
  density::v1::FlowSpec Draw();

 private:
  int Width() const { return static_cast<int>(shape_.columns); }
  int Number(int count) { return static_cast<int>(random_() % count); }
  std::string Pick(const std::vector<std::string>& options) {
    return options[Number(static_cast<int>(options.size()))];
  }
  /// A random order of what is left of the columns.
  std::vector<int> Shuffled();
  std::string Columns();
  /// Some of the columns, at least one.
  std::vector<int> SomeColumns();

  std::string Head();
  std::string OnTheLine();
  std::string InABox();
  std::string Conditioner();
  std::string Affine();
  std::string Spline(bool of_angles);
  std::string Univariate(bool of_angles = true);
  std::string Mask();
  std::string Coupling();
  std::string Layer();
  std::string DetourOfSupport();
  void AddOfOtherStarts(std::vector<std::string>& options);
  void AddOfImages(std::vector<std::string>& options);
  std::string FirstLayer();
  std::string Preprocessing();
  std::string Encoding();
  std::string Base();

  std::mt19937_64 random_;
  bool only_identities_;
  RowShape shape_;  // of what is left of the columns
  int context_ = 0;
};

}  // namespace densityd::flow
