// One Trainings.Watch call: the stream of a training's states.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "density/v1/training.pb.h"
#include "server/rpc/control.h"
#include "server/rpc/control_call.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

class WatchStream;

/// The open streams of a server. Thread-safe.
class OpenWatches {
 public:
  /// Takes note of a stream that begins; ends it where EndAll was called.
  void Add(const std::shared_ptr<WatchStream>& stream);
  /// Ends every open stream with UNAVAILABLE, and those that begin later.
  void EndAll();

 private:
  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<WatchStream>> streams_ ABSL_GUARDED_BY(mutex_);
};

/// Writes every state in order and ends after a final one. A reader that is too slow misses states in between, never
/// the last. Thread-safe.
class WatchStream final : public ControlCall {
 public:
  WatchStream(const ControlPosting& posting, training::TrainingManager* trainings,
              const ControlEnvironment& environment, OpenWatches& open);

  /// Ends the stream with `status` once what is being written is written. The first call wins.
  void End(const absl::Status& status);

 private:
  void Begin() override;
  void OnRead(bool ok) override;
  void OnWritten(bool ok) override;
  void OnCancelled() override;
  void OnFinished(bool ok) override;

  /// Takes the request and begins to watch. On the executor.
  absl::Status Watch();
  void OnState(const density::v1::Training& training);
  /// Writes the next state or finishes, whatever can be done now.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  training::TrainingManager* const trainings_;
  const ControlEnvironment* const environment_;
  OpenWatches* const open_;
  CallTimer timer_;

  absl::Mutex mutex_;
  std::deque<density::v1::Training> waiting_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = true;  ///< the request
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool final_ ABSL_GUARDED_BY(mutex_) = false;     ///< a final state is waiting or written
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;    ///< nothing more is written; see end_
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  ///< Finish was called
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<training::WatchToken> token_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::rpc
