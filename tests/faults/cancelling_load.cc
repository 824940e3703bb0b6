// Calls LogProb, cancels half of the calls at random times, and gives a quarter 1 to 5 ms; then prints what its callers
// got as JSON. In C++ and on one thread, so that what is late is the server, not who asks.
//
//   cancelling_load ADDRESS MODEL ROWS COLS CALLS IN_FLIGHT SEED
#include <grpcpp/grpcpp.h>

#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "density/v1/density_estimator.grpc.pb.h"

namespace {

using density::v1::DensityEstimator;
using density::v1::LogProbRequest;
using density::v1::LogProbResponse;

constexpr int kConnections = 4;
constexpr absl::Duration kPatience = absl::Seconds(60);
/// Cancellations come so long after a call began at most.
constexpr double kLatestCancellation = 0.02;

struct Call {
  uint64_t number = 0;
  std::unique_ptr<grpc::ClientContext> context;
  LogProbResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<LogProbResponse>> reader;
};

/// When a call is to be cancelled, unless it has ended by then.
struct Cancellation {
  absl::Time when;
  Call* call;
  uint64_t number;
  bool operator<(const Cancellation& other) const { return when > other.when; }
};

class Load {
 public:
  Load(const std::string& address, const LogProbRequest& request, uint64_t seed) : request_(request), random_(seed) {
    for (int i = 0; i < kConnections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt("load.connection", i);  // distinct arguments keep gRPC from sharing a connection
      stubs_.push_back(
          DensityEstimator::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
    }
  }

  void Run(uint64_t calls, size_t in_flight) {
    std::vector<Call> slots(in_flight);
    for (Call& call : slots) Start(call);
    while (ended_ < begun_) {
      CancelWhatIsDue();
      void* tag = nullptr;
      bool ok = false;
      const absl::Time next = cancellations_.empty() ? absl::InfiniteFuture() : cancellations_.top().when;
      const auto until = std::min(next, absl::Now() + absl::Seconds(1));
      if (queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(until)) != grpc::CompletionQueue::GOT_EVENT) continue;
      auto& call = *static_cast<Call*>(tag);
      ++ended_;
      ++codes_[call.status.error_code()];
      if (begun_ < calls) Start(call);
    }
  }

  uint64_t Ended(grpc::StatusCode code) { return codes_[code]; }
  uint64_t ended() const { return ended_; }

 private:
  void Start(Call& call) {
    call.number = begun_++;
    call.context = std::make_unique<grpc::ClientContext>();
    const absl::Time now = absl::Now();
    const bool hurried = call.number % 4 == 3;
    const absl::Duration patience = hurried ? absl::Milliseconds(1) + Uniform() * absl::Milliseconds(4) : kPatience;
    call.context->set_deadline(absl::ToChronoTime(now + patience));
    if (call.number % 2 == 0) {
      cancellations_.push({now + absl::Seconds(kLatestCancellation * Uniform()), &call, call.number});
    }
    call.reader = stubs_[call.number % kConnections]->AsyncLogProb(call.context.get(), request_, &queue_);
    call.reader->Finish(&call.response, &call.status, &call);
  }

  void CancelWhatIsDue() {
    const absl::Time now = absl::Now();
    for (; !cancellations_.empty() && cancellations_.top().when <= now; cancellations_.pop()) {
      const Cancellation& due = cancellations_.top();
      if (due.call->number == due.number) due.call->context->TryCancel();
    }
  }

  double Uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  const LogProbRequest request_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<DensityEstimator::Stub>> stubs_;
  grpc::CompletionQueue queue_;
  std::priority_queue<Cancellation> cancellations_;
  std::map<grpc::StatusCode, uint64_t> codes_;
  uint64_t begun_ = 0;
  uint64_t ended_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "usage: " << argv[0] << " ADDRESS MODEL ROWS COLS CALLS IN_FLIGHT SEED\n";
    return 2;
  }
  LogProbRequest request;
  request.set_model(argv[2]);
  request.mutable_rows()->set_rows(std::stoull(argv[3]));
  request.mutable_rows()->set_cols(std::stoull(argv[4]));
  const std::vector<float> values(request.rows().rows() * request.rows().cols(), 1.0F);
  request.mutable_rows()->set_f32_le(values.data(), values.size() * sizeof(float));
  Load load(argv[1], request, std::stoull(argv[7]));
  load.Run(std::stoull(argv[5]), std::stoull(argv[6]));
  std::cout << nlohmann::json{{"calls", load.ended()},
                              {"OK", load.Ended(grpc::OK)},
                              {"CANCELLED", load.Ended(grpc::CANCELLED)},
                              {"DEADLINE_EXCEEDED", load.Ended(grpc::DEADLINE_EXCEEDED)},
                              {"RESOURCE_EXHAUSTED", load.Ended(grpc::RESOURCE_EXHAUSTED)}}
            << '\n';
  return 0;
}
