// Calls LogProb of one row through the client library, from several threads, until the standard input ends; then prints
// what came of it as JSON.
//
//   client_load ADDRESS MODEL THREADS
#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "densityd/client.h"

namespace {

struct Tally {
  std::mutex mutex;
  std::vector<double> seconds;
  uint64_t failures = 0;
  std::string first_failure;
};

void Call(const densityd::Client& client, const std::string& model, const std::atomic<bool>& end, Tally& tally) {
  const std::vector<float> row = {3, 1.5};
  while (!end) {
    const absl::Time start = absl::Now();
    const auto answer = client.LogProb(model, densityd::RowsView<float>(row, 2));
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    const std::lock_guard<std::mutex> lock(tally.mutex);
    tally.seconds.push_back(seconds);
    if (!answer.ok() && tally.failures++ == 0) tally.first_failure = densityd::ErrorText(answer.status());
  }
}

double Quantile(const std::vector<double>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: " << argv[0] << " ADDRESS MODEL THREADS\n";
    return 2;
  }
  const auto client = densityd::Client::Connect({.address = argv[1]});
  if (!client.ok()) {
    std::cerr << client.status() << '\n';
    return 1;
  }
  Tally tally;
  std::atomic<bool> end = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < std::stoi(argv[3]); ++i) {
    threads.emplace_back([&] { Call(*client, argv[2], end, tally); });
  }
  std::cout << "begun" << std::endl;
  while (std::cin.get() != EOF) {
  }
  end = true;
  for (std::thread& thread : threads) thread.join();
  std::sort(tally.seconds.begin(), tally.seconds.end());
  std::cout << nlohmann::json{{"calls", tally.seconds.size()},
                              {"failures", tally.failures},
                              {"first_failure", tally.first_failure},
                              {"p50", Quantile(tally.seconds, 0.5)},
                              {"p99", Quantile(tally.seconds, 0.99)}}
            << '\n';
  return 0;
}
