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
LogProbRequest MakeRequest(const LoadOptions& options) {
  LogProbRequest request;
  request.set_model(options.model);
  auto& matrix = *request.mutable_rows();
  matrix.set_rows(options.rows);
  matrix.set_cols(options.cols);
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(options.rows * options.cols);
  for (float& value : values) value = normal(generator);
  matrix.set_f32_le(values.data(), values.size() * sizeof(float));
  return request;
}

/// One call in flight; its address is the completion queue's tag.
struct Call {
  absl::Time start;
  std::optional<grpc::ClientContext> context;
  LogProbResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<LogProbResponse>> reader;
  size_t connection = 0;
};

class Run {
 public:
  explicit Run(const LoadOptions& options) : options_(options), request_(MakeRequest(options)) {
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
    if (options_.arrival.has_value()) {
      OpenLoop();
    } else {
      ClosedLoop();
    }
    return Result();
  }

 private:
  void Start(Call& call, absl::Time intended_start) {
    call.start = intended_start;
    call.context.emplace();
    call.response.Clear();
    call.reader = stubs_[call.connection]->AsyncLogProb(&*call.context, request_, &queue_);
    call.reader->Finish(&call.response, &call.status, &call);
    ++in_flight_;
  }

  void Finished(const Call& call) {
    --in_flight_;
    if (call.start < measure_from_ || call.start >= end_) return;
    if (!call.status.ok()) {
      if (failures_++ == 0) first_failure_ = call.status.error_message();
      return;
    }
    seconds_.push_back(absl::ToDoubleSeconds(absl::Now() - call.start));
  }

  void NoteCpu(absl::Time now) {
    if (!cpu_begin_.has_value() && now >= measure_from_) {
      cpu_begin_ = CpuSeconds(options_.server_pid);
    }
    if (!cpu_end_.has_value() && now >= end_) cpu_end_ = CpuSeconds(options_.server_pid);
  }

  void ClosedLoop() {
    std::vector<Call> calls(static_cast<size_t>(options_.concurrency));
    for (size_t i = 0; i < calls.size(); ++i) {
      calls[i].connection = i % stubs_.size();
      Start(calls[i], absl::Now());
    }
    void* tag = nullptr;
    bool ok = false;
    while (in_flight_ > 0 && queue_.Next(&tag, &ok)) {
      Call& call = *static_cast<Call*>(tag);
      Finished(call);
      const absl::Time now = absl::Now();
      NoteCpu(now);
      if (now < end_) Start(call, now);
    }
  }

  void OpenLoop() {
    Arrivals arrivals(*options_.arrival, options_.rate, 7);
    std::vector<std::unique_ptr<Call>> calls;
    std::vector<Call*> idle;
    absl::Time next = begin_ + arrivals.NextGap();
    size_t started = 0;
    while (next < end_ || in_flight_ > 0) {
      const absl::Time now = absl::Now();
      NoteCpu(now);
      if (next <= now && next < end_) {
        if (idle.empty()) idle.push_back(calls.emplace_back(std::make_unique<Call>()).get());
        Call& call = *idle.back();
        idle.pop_back();
        call.connection = started++ % stubs_.size();
        Start(call, next);
        next += arrivals.NextGap();
        continue;
      }
      void* tag = nullptr;
      bool ok = false;
      // Polls instead of blocking: the next start must not be late because of a sleeping thread.
      if (queue_.AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_REALTIME)) == grpc::CompletionQueue::GOT_EVENT) {
        Call& call = *static_cast<Call*>(tag);
        Finished(call);
        idle.push_back(&call);
      }
    }
  }

  LoadResult Result() {
    NoteCpu(absl::InfiniteFuture());
    LoadResult result;
    result.latency = Summarise(seconds_);
    const double duration = absl::ToDoubleSeconds(options_.duration);
    const auto calls = static_cast<double>(result.latency.calls);
    result.calls_per_second = calls / duration;
    result.rows_per_second = result.calls_per_second * static_cast<double>(options_.rows);
    result.failures = failures_;
    result.first_failure = first_failure_;
    if (calls > 0) result.server_cpu_per_call = (*cpu_end_ - *cpu_begin_) / calls;
    return result;
  }

  const LoadOptions& options_;
  const LogProbRequest request_;
  std::vector<std::unique_ptr<DensityEstimator::Stub>> stubs_;
  grpc::CompletionQueue queue_;
  absl::Time begin_;
  absl::Time measure_from_;
  absl::Time end_;
  std::optional<double> cpu_begin_;
  std::optional<double> cpu_end_;
  std::vector<double> seconds_;
  uint64_t failures_ = 0;
  std::string first_failure_;
  size_t in_flight_ = 0;
};

}  // namespace

LoadResult GenerateLoad(const LoadOptions& options) { return Run(options).Execute(); }

}  // namespace densityd::bench
