#include "bench/service/load_generator.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "absl/time/clock.h"

namespace densityd::bench {
namespace {

using density::v1::DensityEstimator;
using density::v1::LogProbRequest;
using density::v1::LogProbResponse;

/// CPU seconds that a process has used, from /proc.
double CpuSeconds(int64_t pid) {
  if (pid == 0) return 0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t after_name = text.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(text.substr(after_name + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

/// Rows that look like standardised data, the same in every run.
LogProbRequest MakeRequest(const Stream& stream, uint64_t cols) {
  LogProbRequest request;
  request.set_model(stream.model);
  auto& matrix = *request.mutable_rows();
  matrix.set_rows(stream.rows);
  matrix.set_cols(cols);
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(stream.rows * cols);
  for (float& value : values) value = normal(generator);
  matrix.set_f32_le(values.data(), values.size() * sizeof(float));
  return request;
}

/// One call in flight; its address is the completion queue's tag.
struct Call {
  size_t stream = 0;
  size_t connection = 0;
  absl::Time start;
  std::optional<grpc::ClientContext> context;
  LogProbResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<LogProbResponse>> reader;
};

/// What was measured of one stream so far.
struct Tally {
  std::vector<double> seconds;
  uint64_t failures = 0;
  std::string first_failure;
};

class Run {
 public:
  explicit Run(const LoadOptions& options) : options_(options), tallies_(options.streams.size()) {
    for (const Stream& stream : options.streams) requests_.push_back(MakeRequest(stream, options.cols));
    for (int i = 0; i < options.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt("bench.connection", i);  // distinct arguments keep gRPC from sharing a connection
      arguments.SetMaxReceiveMessageSize(-1);
      stubs_.push_back(DensityEstimator::NewStub(
          grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments)));
    }
  }

  LoadResult Execute() {
    begin_ = absl::Now();
    measure_from_ = begin_ + options_.warmup;
    end_ = measure_from_ + options_.duration;
    for (size_t stream = options_.arrival.has_value() ? 1 : 0; stream < options_.streams.size(); ++stream) {
      for (int i = 0; i < options_.streams[stream].concurrency; ++i) Start(NewCall(stream), absl::Now());
    }
    if (options_.arrival.has_value()) {
      OpenLoop();
    } else {
      ClosedLoops();
    }
    return Result();
  }

 private:
  /// Calls are spread over the connections in the order in which they are made.
  Call& NewCall(size_t stream) {
    Call& call = *calls_.emplace_back(std::make_unique<Call>());
    call.stream = stream;
    call.connection = (calls_.size() - 1) % stubs_.size();
    return call;
  }

  void Start(Call& call, absl::Time intended_start) {
    call.start = intended_start;
    call.context.emplace();
    call.response.Clear();
    call.reader = stubs_[call.connection]->AsyncLogProb(&*call.context, requests_[call.stream], &queue_);
    call.reader->Finish(&call.response, &call.status, &call);
    ++in_flight_;
  }

  void Finished(const Call& call, absl::Time now) {
    --in_flight_;
    if (call.start < measure_from_ || call.start >= end_) return;
    Tally& tally = tallies_[call.stream];
    if (!call.status.ok()) {
      if (tally.failures++ == 0) tally.first_failure = call.status.error_message();
      return;
    }
    tally.seconds.push_back(absl::ToDoubleSeconds(now - call.start));
  }

  void NoteCpu(absl::Time now) {
    if (!cpu_begin_.has_value() && now >= measure_from_) cpu_begin_ = CpuSeconds(options_.server_pid);
    if (!cpu_end_.has_value() && now >= end_) cpu_end_ = CpuSeconds(options_.server_pid);
  }

  void ClosedLoops() {
    void* tag = nullptr;
    bool ok = false;
    while (in_flight_ > 0 && queue_.Next(&tag, &ok)) {
      Call& call = *static_cast<Call*>(tag);
      const absl::Time now = absl::Now();
      Finished(call, now);
      NoteCpu(now);
      if (now < end_) Start(call, now);
    }
  }

  void OpenLoop() {
    Arrivals arrivals(*options_.arrival, options_.rate, 7);
    std::vector<Call*> idle;
    absl::Time next = begin_ + arrivals.NextGap();
    while (next < end_ || in_flight_ > 0) {
      const absl::Time now = absl::Now();
      NoteCpu(now);
      if (next <= now && next < end_) {
        if (idle.empty()) idle.push_back(&NewCall(0));
        Call& call = *idle.back();
        idle.pop_back();
        if (next >= measure_from_) lateness_.push_back(absl::ToDoubleSeconds(now - next));
        Start(call, next);
        next += arrivals.NextGap();
      }
      // After each start, too: whoever has fallen behind and only starts has more and more calls in flight.
      void* tag = nullptr;
      bool ok = false;
      if (!NextWithin(next, &tag, &ok)) continue;
      Call& call = *static_cast<Call*>(tag);
      const absl::Time done = absl::Now();
      Finished(call, done);
      if (call.stream == 0) {
        idle.push_back(&call);
      } else if (done < end_) {
        Start(call, done);
      }
    }
  }

  /// Polls instead of blocking, unless it may sleep: the next start must not be late because of a sleeping thread.
  bool NextWithin(absl::Time next, void** tag, bool* ok) {
    const gpr_timespec until =
        options_.sleeps ? grpc::TimePoint(absl::ToChronoTime(next)).raw_time() : gpr_inf_past(GPR_CLOCK_REALTIME);
    return queue_.AsyncNext(tag, ok, until) == grpc::CompletionQueue::GOT_EVENT;
  }

  LoadResult Result() {
    NoteCpu(absl::InfiniteFuture());
    LoadResult result;
    const double duration = absl::ToDoubleSeconds(options_.duration);
    double calls = 0;
    for (size_t i = 0; i < tallies_.size(); ++i) {
      StreamResult& stream = result.streams.emplace_back();
      stream.latency = Summarise(tallies_[i].seconds);
      stream.calls_per_second = static_cast<double>(stream.latency.calls) / duration;
      stream.rows_per_second = stream.calls_per_second * static_cast<double>(options_.streams[i].rows);
      stream.failures = tallies_[i].failures;
      stream.first_failure = tallies_[i].first_failure;
      calls += static_cast<double>(stream.latency.calls);
    }
    result.lateness = Summarise(lateness_);
    if (calls > 0) result.server_cpu_per_call = (*cpu_end_ - *cpu_begin_) / calls;
    return result;
  }

  const LoadOptions& options_;
  std::vector<LogProbRequest> requests_;  ///< by stream
  std::vector<std::unique_ptr<DensityEstimator::Stub>> stubs_;
  std::vector<std::unique_ptr<Call>> calls_;
  grpc::CompletionQueue queue_;
  absl::Time begin_;
  absl::Time measure_from_;
  absl::Time end_;
  std::optional<double> cpu_begin_;
  std::optional<double> cpu_end_;
  std::vector<Tally> tallies_;    ///< by stream
  std::vector<double> lateness_;  ///< open loop: seconds from when a call was meant to start until it did
  size_t in_flight_ = 0;
};

}  // namespace

LoadResult GenerateLoad(const LoadOptions& options) { return Run(options).Execute(); }

}  // namespace densityd::bench
