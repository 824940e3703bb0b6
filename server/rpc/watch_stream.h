// One Trainings.Watch call: the stream of a training's states.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "density/v1/training.pb.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/control.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

/// Writes every state in order and ends after a final one. A reader that is too slow misses states in between, never
/// the last. Lives until gRPC is done with it. Thread-safe.
class WatchStream final : public grpc::ServerWriteReactor<density::v1::Training>,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  /// Begins watching, on the executor.
  static std::shared_ptr<WatchStream> Begin(training::TrainingManager& trainings, const ControlEnvironment& environment,
                                            grpc::CallbackServerContext* context,
                                            const density::v1::WatchTrainingRequest& request);

  WatchStream(const ControlEnvironment& environment, grpc::CallbackServerContext* context,
              const density::v1::WatchTrainingRequest& request);

  /// Ends the stream with `status` once what is being written is written. The first call wins.
  void End(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void OnState(const density::v1::Training& training);
  /// Writes the next state or finishes, whatever can be done now.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ControlEnvironment* const environment_;
  CallTimer timer_;
  const std::string id_;
  const uint64_t after_revision_;
  std::shared_ptr<WatchStream> self_;  ///< until OnDone

  absl::Mutex mutex_;
  std::deque<density::v1::Training> waiting_ ABSL_GUARDED_BY(mutex_);
  density::v1::Training written_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool final_ ABSL_GUARDED_BY(mutex_) = false;     ///< a final state is waiting or written
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;    ///< nothing more is written; see end_
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  ///< Finish was called
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<training::WatchToken> token_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::rpc
