// Shows a running densityd at work on real data: trains three models, scores, samples, maps, and checks every claim.
// ./scripts/demo starts the server and this program.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "densityd/client.h"
#include "examples/demo/checks.h"
#include "examples/demo/data.h"
#include "examples/demo/picture.h"
#include "examples/demo/query.h"
#include "examples/demo/table.h"
#include "examples/demo/train.h"

namespace densityd::demo {
namespace {

constexpr size_t kPlanted = 40;
constexpr size_t kSamples = 3000;
constexpr double kNatsAboveGaussian = 7.5;
constexpr double kTail = 0.01;

/// A model of the demo. The two flows have conditioners with two hidden layers of 128.
struct Choice {
  std::string name;    ///< for people
  std::string model;   ///< on the server
  std::string preset;  ///< of the API
  int transforms;      ///< 0: the preset has no such option
  double learning_rate;
};
const std::vector<Choice>& Choices() {
  static const std::vector<Choice> choices = {{"Gaussian", "power-gaussian", "affine", 0, 1e-2},
                                              {"RealNVP", "power-realnvp", "realnvp", 8, 1e-3},
                                              {"MAF", "power-maf", "maf", 5, 1e-3}};
  return choices;
}

density::v1::TrainRequest MakeRequest(const Choice& choice, const std::string& dataset) {
  density::v1::TrainRequest request;
  request.set_model(choice.model);
  request.set_dataset(dataset);
  request.mutable_preset()->set_name(choice.preset);
  if (choice.transforms > 0) {
    request.mutable_preset()->set_transforms(choice.transforms);
    request.mutable_preset()->add_hidden(128);
    request.mutable_preset()->add_hidden(128);
  }
  request.mutable_options()->set_steps(2000);
  request.mutable_options()->set_batch_size(512);
  request.mutable_options()->set_learning_rate(choice.learning_rate);
  return request;
}

absl::StatusOr<std::vector<Answers>> TrainAndQuery(const Client& client, const Data& data, const Rows<float>& planted) {
  const auto dataset = client.Upload(data.train, {.display_name = "power", .columns = data.columns});
  if (!dataset.ok()) return dataset.status();
  absl::PrintF(
      "Uploaded %d rows of %d columns as dataset %s; %d rows are held out.\nTraining, 2000 steps of 512 rows:\n",
      data.train.rows, data.train.cols, dataset->id(), data.held_out.rows);
  std::vector<Answers> models;
  for (const Choice& choice : Choices()) {
    const auto training = TrainModel(client, MakeRequest(choice, dataset->id()));
    if (!training.ok()) return training.status();
    auto answers = Query(client, *training, choice.name, data, planted, kSamples);
    if (!answers.ok()) return answers.status();
    models.push_back(*std::move(answers));
  }
  return models;
}

/// How far the means of the samples' columns are from the data's, at most, in standard deviations of the data.
double WorstMeanDistance(const Rows<float>& samples, const Moments& data) {
  const Moments drawn = ColumnMoments(samples);
  double worst = 0;
  for (size_t j = 0; j < data.mean.size(); ++j) {
    worst = std::max(worst, std::abs(drawn.mean[j] - data.mean[j]) / data.deviation[j]);
  }
  return worst;
}

void CheckAnomalies(const Answers& model, bool expected, Checks& checks) {
  const float threshold = Quantile(model.held_out_log_prob, kTail);
  size_t found = 0;
  float largest_tail = 0;
  for (size_t i = 0; i < model.anomaly_log_prob.size(); ++i) {
    if (model.anomaly_log_prob[i] <= threshold) ++found;
    largest_tail = std::max(largest_tail, model.anomaly_tail[i]);
  }
  const std::string text =
      absl::StrFormat("%s: %d of %d planted anomalies are in the lowest 1 %% of log p (largest tail probability %.2g)",
                      model.name, found, model.anomaly_log_prob.size(), largest_tail);
  if (expected) {
    checks.Expect(found == model.anomaly_log_prob.size() && found > 0 && largest_tail <= kTail, text);
  } else {
    absl::PrintF("  [--] %s\n", text);
  }
}

absl::Status CheckFlow(const Client& client, const Answers& flow, const Answers& gaussian, const Data& data,
                       const Moments& moments, Checks& checks) {
  const double above = MeanOf(flow.held_out_log_prob).value - MeanOf(gaussian.held_out_log_prob).value;
  checks.Expect(above >= kNatsAboveGaussian, absl::StrFormat("%s: %.2f nats above the Gaussian (at least %.1f)",
                                                             flow.name, above, kNatsAboveGaussian));
  CheckAnomalies(flow, true, checks);
  const auto trip = CheckRoundTrip(client, flow.version, data.held_out);
  if (!trip.ok()) return trip.status();
  checks.Expect(trip->worst_value < 1e-4 && trip->worst_log_abs_det < 1e-2,
                absl::StrFormat("%s: x -> z -> x within %.1g relative (below 1e-4), log|det| within %.1g nats, %d rows",
                                flow.name, trip->worst_value, trip->worst_log_abs_det, data.held_out.rows));
  const auto repeat = SamplesRepeat(client, flow.version);
  if (!repeat.ok()) return repeat.status();
  checks.Expect(*repeat, absl::StrCat(flow.name, ": one seed gives the same rows, drawn at once or in parts"));
  const double distance = WorstMeanDistance(flow.samples, moments);
  checks.Expect(distance < 0.25,
                absl::StrFormat("%s: means of %d samples within %.2f standard deviations of the data's", flow.name,
                                flow.samples.rows, distance));
  return absl::OkStatus();
}

absl::StatusOr<bool> Run(const std::string& address, const std::string& path, const std::string& folder) {
  const auto client = Client::Connect({.address = address});
  if (!client.ok()) return client.status();
  const auto data = ReadData(path);
  if (!data.ok()) return data.status();
  const Rows<float> planted = PlantAnomalies(*data, kPlanted);
  const auto models = TrainAndQuery(*client, *data, planted);
  if (!models.ok()) return models.status();

  const Moments moments = ColumnMoments(data->train);
  double log_deviation = 0;
  for (const double deviation : moments.deviation) log_deviation += std::log(deviation);
  PrintLikelihoods(*models, log_deviation);

  Checks checks;
  const Answers& gaussian = models->front();
  CheckAnomalies(gaussian, false, checks);
  for (size_t i = 1; i < models->size(); ++i) {
    const absl::Status status = CheckFlow(*client, (*models)[i], gaussian, *data, moments, checks);
    if (!status.ok()) return status;
  }
  const absl::Status written = WritePictureFiles(folder, *data, planted, *models, models->back());
  if (!written.ok()) return written;
  return checks.all_hold();
}

}  // namespace
}  // namespace densityd::demo

int main(int argc, char** argv) {
  CLI::App app("Trains and queries flows on a running densityd. ./scripts/demo starts both.");
  std::string address = "127.0.0.1:50051";
  std::string data = "examples/power/power.csv";
  std::string folder = ".";
  app.add_option("--address", address, "The server")->capture_default_str();
  app.add_option("--data", data, "CSV file of household electric power")->capture_default_str();
  app.add_option("--out", folder, "Folder for the files that the picture is made of")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<bool> all_hold = densityd::demo::Run(address, data, folder);
  if (!all_hold.ok()) {
    std::fprintf(stderr, "%s\n", densityd::ErrorText(all_hold.status()).c_str());
    return 2;
  }
  return *all_hold ? 0 : 1;
}
