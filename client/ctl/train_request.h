// The flags of `densityctl train` and the request that they make.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/ctl/session.h"
#include "density/v1/training.pb.h"

namespace densityd::ctl {

struct TrainFlags {
  std::string model;
  // The flow.
  std::string preset;
  std::string spec_file;
  std::string preset_options;
  std::optional<uint32_t> transforms;
  std::vector<uint32_t> hidden;
  std::string activation;
  bool residual = false;
  std::optional<uint32_t> residual_blocks;
  std::optional<double> dropout;
  std::string mixing;
  bool actnorm = false;
  bool learnt_base = false;
  bool no_standardize = false;
  std::optional<uint64_t> flow_seed;
  std::string image;
  std::optional<uint32_t> levels;
  std::vector<std::string> preprocess;
  std::vector<std::string> encode_context;
  // The data.
  std::string data_file;
  std::string dataset;
  std::string server_file;
  std::vector<std::string> column_names;
  std::vector<std::string> feature_columns;
  std::vector<std::string> context_columns;
  // How to train.
  std::optional<uint64_t> steps;
  std::optional<uint32_t> batch_size;
  std::optional<double> learning_rate;
  std::string optimizer;
  std::optional<double> weight_decay;
  std::string schedule;
  std::optional<uint64_t> warmup_steps;
  std::optional<double> clip_norm;
  std::optional<double> ema_decay;
  std::optional<double> validation_fraction;
  std::optional<uint64_t> validation_interval;
  std::optional<uint32_t> patience;
  std::optional<uint64_t> seed;
  std::optional<uint32_t> threads;
  std::string trainer;
  std::string warm_start;
  // How it is run.
  std::optional<double> checkpoint_interval;
  std::optional<int32_t> priority;
  std::optional<uint64_t> max_memory;
  std::optional<double> max_seconds;
  std::string idempotency_key;
  // The outcome.
  std::string alias;
  bool watch = true;
  bool json = false;
};

/// Declares all flags.
void DefineTrainFlags(CLI::App& command, TrainFlags& flags);

/// The request that the flags describe, all but the data of `data_file`. Reads the file of a spec.
absl::StatusOr<density::v1::TrainRequest> MakeTrainRequest(const TrainFlags& flags, Session& session);

/// Names of the context columns that the request's preset or spec says may be missing.
std::vector<std::string> MissingColumns(const density::v1::TrainRequest& request);

}  // namespace densityd::ctl
