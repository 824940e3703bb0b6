// A model manager over a real store in a temporary folder, with servables that only count.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/registry/model_manager.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/fake_servable.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry::testing {

using absl::StatusCode;
using density::v1::VersionInfo;
using densityd::testing::TempFolder;

constexpr size_t kVersionBytes = 10'000;

class ModelManagerTest : public ::testing::Test {
 protected:
  /// Room for `versions` versions.
  void Start(size_t versions = 100, Retention retention = {}) {
    manager_ = std::make_unique<ModelManager>(
        store_, loader_.AsLoader(), versions * kVersionBytes, ModelEvents{[this](const VersionInfo& info) {
          absl::MutexLock lock(&mutex_);
          events_.push_back(
              absl::StrCat(info.name(), "@", info.version(), " ", density::v1::VersionState_Name(info.state())));
        }},
        retention);
  }
  uint64_t Publish(const std::string& name, double mark = 1) {
    const auto version = store_.Publish(name, SampleManifest(mark), SampleTensors(mark));
    EXPECT_TRUE(version.ok()) << version.status();
    return version.value_or(0);
  }
  /// Publishes and tells the manager.
  absl::Status Train(const std::string& name, double mark = 1) {
    return manager_->OnPublished(name, Publish(name, mark));
  }
  StatusCode AcquireCode(std::string_view reference) { return manager_->Acquire(reference).status().code(); }
  double Mark(std::string_view reference) {
    const auto handle = manager_->Acquire(reference);
    EXPECT_TRUE(handle.ok()) << handle.status();
    return handle.ok() ? static_cast<const FakeServable&>(*handle->servable).mark() : -1;
  }
  density::v1::VersionState State(const std::string& reference) {
    const auto detail = manager_->Get(reference);
    EXPECT_TRUE(detail.ok()) << detail.status();
    return detail.ok() ? detail->info().state() : density::v1::VERSION_STATE_UNSPECIFIED;
  }
  std::vector<std::string> Events() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(events_, {});
  }
  absl::StatusOr<density::v1::Aliases> SetAlias(const std::string& name, const std::string& alias, uint64_t version) {
    density::v1::SetAliasRequest request;
    request.set_name(name);
    request.set_alias(alias);
    request.set_version(version);
    return manager_->SetAlias(request);
  }

  TempFolder folder_;
  ModelStore store_ = OpenStore(FileSystem::Real(), folder_.path());
  FakeLoader loader_{kVersionBytes};
  absl::Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ModelManager> manager_;
};

}  // namespace densityd::registry::testing
