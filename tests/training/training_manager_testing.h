// A TrainingManager whose trainings are scripts.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "server/training/training_manager.h"
#include "tests/training/training_testing.h"

namespace densityd::training {

class TrainingManagerTest : public ::testing::Test {
 protected:
  TrainingManagerTest() : fixture_("fake_training_worker") { fixture_.Open(); }

  TrainingManager& manager() { return fixture_.manager(); }

  // Starts a script and follows it.
  struct Started {
    std::string id;
    testing::Recorder recorder;
    std::unique_ptr<WatchToken> token;
  };
  std::unique_ptr<Started> Start(const std::string& script) {
    auto started = std::make_unique<Started>();
    const auto training = manager().Start(testing::SmallRequest(script));
    EXPECT_TRUE(training.ok()) << training.status();
    started->id = training->id();
    auto token = manager().Watch(started->id, started->recorder.watcher());
    EXPECT_TRUE(token.ok()) << token.status();
    started->token = *std::move(token);
    return started;
  }

  testing::ManagerFixture fixture_;
};

}  // namespace densityd::training
