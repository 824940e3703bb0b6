// Requests of 4096 rows through the scheduler, on one core and on two: names scaling/<shape>/<op>/<rows>/cores:<n>.
//
// Four requests are in flight, as in the service's benchmark; each worker is a thread that is pinned to a core of its
// own, and takes tiles of whatever request has any left.
#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/engine/bench_model.h"
#include "benchmark/benchmark.h"
#include "server/serving/row_job.h"
#include "server/serving/scheduler.h"

namespace densityd::bench {
namespace {

using engine::Op;

constexpr size_t kRows = 4096;
constexpr size_t kInFlight = 4;
constexpr int64_t kRequests = 16;  ///< of one iteration

/// The cores that this process may use.
std::vector<int> AllowedCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void PinThisThread(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

/// Index of the worker that runs on this thread.
thread_local int this_worker = 0;

class Request;

/// Keeps requests in flight until kRequests are done.
class Load {
 public:
  Load(const BenchModel& model, int workers)
      : model_(model), scheduler_({.workers = workers}, Clock::Real(), nullptr, nullptr) {}

  /// Submits the next request from this thread's worker, if there is one left.
  void StartOne();
  void Finished() {
    StartOne();
    to_finish_.fetch_sub(1);
  }
  /// Computes until all requests are done.
  void Work() {
    while (to_finish_.load() > 0) scheduler_.RunOne(this_worker);
  }
  const BenchModel& model() const { return model_; }

 private:
  const BenchModel& model_;
  std::atomic<int64_t> to_start_ = kRequests;
  std::atomic<int64_t> to_finish_ = kRequests;
  serving::Scheduler scheduler_;
};

/// One request; owns itself from Submit to Done.
class Request final : public serving::RowJob {
 public:
  explicit Request(Load& load) : load_(load), rows_(load.model(), kRows) {
    plan = load.model().plan;
    span = rows_.Span(op);
  }

  void Done(absl::Status status) override {
    const std::unique_ptr<Request> self(this);
    if (!status.ok()) std::abort();
    load_.Finished();
  }

 private:
  Load& load_;
  Rows rows_;
};

void Load::StartOne() {
  if (to_start_.fetch_sub(1) <= 0) return;
  auto request = std::make_unique<Request>(*this);
  if (!scheduler_.Submit(this_worker, *request.release()).ok()) std::abort();
}

/// kRequests requests on `cores`, one worker each.
void RunRequests(const BenchModel& model, const std::vector<int>& cores) {
  Load load(model, static_cast<int>(cores.size()));
  std::vector<std::thread> workers;
  for (size_t worker = 0; worker < cores.size(); ++worker) {
    workers.emplace_back([&, worker] {
      PinThisThread(cores[worker]);
      this_worker = static_cast<int>(worker);
      for (size_t i = worker; i < kInFlight; i += cores.size()) load.StartOne();
      load.Work();
    });
  }
  for (std::thread& worker : workers) worker.join();
}

void RunScaling(benchmark::State& state, Shape shape, size_t core_count) {
  const std::vector<int> allowed = AllowedCores();
  if (allowed.size() < core_count) {
    state.SkipWithError("this process may not use as many cores");
    return;
  }
  const BenchModel* model = SharedModel(shape);
  if (model->plan == nullptr) {
    state.SkipWithError(model->why_not.c_str());
    return;
  }
  const std::vector<int> cores(allowed.begin(), allowed.begin() + static_cast<long>(core_count));
  for (auto _ : state) RunRequests(*model, cores);
  state.counters["rows"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kRequests) * kRows, benchmark::Counter::kIsRate);
}

}  // namespace

void RegisterScaling() {
  for (const Shape& shape : kShapes) {
    for (size_t cores : {1, 2}) {
      const std::string name = "scaling/" + ShapeName(shape) + "/" + engine::OpName(Op::kLogProb) + "/" +
                               std::to_string(kRows) + "/cores:" + std::to_string(cores);
      benchmark::RegisterBenchmark(name.c_str(), RunScaling, shape, cores)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
}

}  // namespace densityd::bench
