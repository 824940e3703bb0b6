// Trains a flow on two half-moons, watches it, and asks it for densities and samples.
//
// Usage: two_moons [host:port]      (default: 127.0.0.1:50051)
#include <cmath>
#include <cstdio>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "densityd/client.h"

namespace {

/// Points (N, 2) on two interleaved half circles, with a little noise.
densityd::Rows<float> TwoMoons(size_t rows) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> angle(0, std::numbers::pi_v<float>);
  std::normal_distribution<float> noise(0, 0.1f);
  densityd::Rows<float> moons = {.rows = rows, .cols = 2};
  for (size_t i = 0; i < rows; ++i) {
    const float a = angle(generator);
    const bool upper = i % 2 == 0;
    moons.values.push_back((upper ? std::cos(a) : 1 - std::cos(a)) + noise(generator));
    moons.values.push_back((upper ? std::sin(a) : 0.5f - std::sin(a)) + noise(generator));
  }
  return moons;
}

absl::Status Run(const std::string& address) {
  absl::StatusOr<densityd::Client> client = densityd::Client::Connect({.address = address});
  if (!client.ok()) return client.status();

  absl::StatusOr<density::v1::Dataset> dataset =
      client->Upload(TwoMoons(4000), {.display_name = "two moons", .columns = {"x", "y"}});
  if (!dataset.ok()) return dataset.status();

  density::v1::TrainRequest request;
  request.set_model("two-moons");
  request.mutable_preset()->set_name("realnvp");
  request.mutable_preset()->add_hidden(64);
  request.mutable_preset()->add_hidden(64);
  request.mutable_options()->set_steps(500);
  request.set_dataset(dataset->id());
  absl::StatusOr<density::v1::Training> training = client->Train(request);
  if (!training.ok()) return training.status();
  training = client->Watch(training->id(), [](const density::v1::Training& state) {
    std::printf("step %llu of %llu\n", static_cast<unsigned long long>(state.progress().step()),
                static_cast<unsigned long long>(state.progress().total_steps()));
    return true;
  });
  if (!training.ok()) return training.status();
  if (training->state() != density::v1::SUCCEEDED) return absl::AbortedError(training->error());
  std::printf("held-out log-likelihood: %.3f +- %.3f nats\n", training->report().validation_log_likelihood(),
              2 * training->report().validation_standard_error());

  // On a moon, and between the moons.
  const std::vector<float> points = {0, 1, 0.5f, 0.25f};
  auto answer = client->LogProb("two-moons", {points, 2}, {.tail_probability = true});
  if (!answer.ok()) return answer.status();
  std::printf("%s: log p on a moon %.2f, between the moons %.2f\n", answer->model.ToString().c_str(),
              answer->log_prob[0], answer->log_prob[1]);

  auto sample = client->Sample("two-moons", 3, {.seed = 7});
  if (!sample.ok()) return sample.status();
  for (size_t i = 0; i < sample->rows.rows; ++i) {
    std::printf("sample %zu: (%.2f, %.2f)\n", i, sample->rows[i][0], sample->rows[i][1]);
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", densityd::ErrorText(status).c_str());
  return 1;
}
