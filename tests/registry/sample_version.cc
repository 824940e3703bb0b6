#include "tests/registry/sample_version.h"

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <utility>

namespace densityd::registry::testing {

density::v1::ModelManifest SampleManifest(double mark) {
  density::v1::ModelManifest manifest;
  auto& spec = *manifest.mutable_spec();
  spec.set_features(2);
  auto& standardize = *spec.add_layers()->mutable_standardize();
  for (double value : {0.1 + mark, 1.0 / 3.0}) {
    standardize.add_mean(value);
    standardize.add_scale(value * 1e-300);
  }
  spec.add_layers()->mutable_full_affine();
  for (const char* name : {"voltage", "current \"A\"\n"}) {
    auto& column = *manifest.mutable_schema()->add_features();
    column.set_name(name);
    column.set_min(-mark / 7);
  }
  manifest.mutable_report()->set_validation_log_likelihood(-mark / 3);
  manifest.mutable_report()->set_train_rows(uint64_t{1} << 60);
  return manifest;
}

Tensor F64Tensor(std::string name, const std::vector<double>& values) {
  Tensor tensor{std::move(name), DType::kF64, {static_cast<int64_t>(values.size())}, ""};
  tensor.data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
  return tensor;
}

std::vector<Tensor> SampleTensors(double mark) {
  std::vector<Tensor> tensors;
  tensors.push_back({"layers.0.mask", DType::kU8, {3}, std::string("\x01\x00\x01", 3)});
  tensors.push_back({"layers.0.weight", DType::kF32, {2, 3}, std::string(24, 'w')});
  tensors.push_back(F64Tensor("layers.0.mean", {mark, -mark, 1.0 / 3.0}));
  tensors.push_back({"empty", DType::kF32, {0, 5}, ""});
  tensors.push_back({"step", DType::kI64, {}, std::string(8, '\x07')});
  return tensors;
}

ModelStore OpenStore(FileSystem& files, const std::string& root, bool clean_tmp) {
  absl::StatusOr<ModelStore> store = ModelStore::Open(files, root, clean_tmp);
  if (!store.ok()) {
    std::cerr << "cannot open " << root << ": " << store.status() << '\n';
    std::abort();
  }
  return *std::move(store);
}

}  // namespace densityd::registry::testing
