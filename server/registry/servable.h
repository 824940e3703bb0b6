// What a model version is in memory, seen from the registry: something that can answer, and its size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/registry/tensor.h"

namespace densityd::registry {

/// A version as read from disk and verified against its checksums.
struct StoredVersion {
  std::string name;
  uint64_t version = 0;
  density::v1::ModelManifest manifest;
  std::vector<Tensor> tensors;
};

/// A loaded version. Immutable and thread-safe. Its memory is given back with its last handle.
class Servable {
 public:
  virtual ~Servable() = default;
  /// Bytes held; an upper bound.
  virtual size_t memory_bytes() const = 0;
  /// Bytes that answering takes beside these, of all that are loaded together as much as of the one that takes most;
  /// an upper bound.
  virtual size_t scratch_bytes() const = 0;
  /// How rows are computed, for people: "reference-cpu".
  virtual std::string plan_name() const = 0;
  /// The bit promise: a row's bits do not depend on the rows that it is computed with.
  virtual bool rows_are_independent() const = 0;
};

/// Keeps a loaded version alive; cheap to copy. A version that is unloaded meanwhile lives on until its last handle.
struct ModelHandle {
  std::string name;
  uint64_t version = 0;
  std::shared_ptr<const Servable> servable;
};

/// Makes a Servable of a stored version. Called off the request path; must be thread-safe.
using Loader = std::function<absl::StatusOr<std::shared_ptr<const Servable>>(const StoredVersion&)>;

}  // namespace densityd::registry
