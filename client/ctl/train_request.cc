#include "client/ctl/train_request.h"

#include <utility>

#include "CLI/Validators.hpp"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/ctl/files.h"
#include "client/ctl/messages.h"
#include "client/ctl/preprocess_flags.h"
#include "google/protobuf/util/json_util.h"

namespace densityd::ctl {

namespace v1 = density::v1;

namespace {

using Options = v1::TrainingOptions;

/// Declares a flag whose values are those of an enum.
void AddEnum(CLI::App& command, const std::string& flag, std::string& value, const std::string& description,
             const google::protobuf::EnumDescriptor& type) {
  command.add_option(flag, value, description)->check(CLI::IsMember(EnumNames(type)));
}

void DefineFlow(CLI::App& command, TrainFlags& flags) {
  auto* flow = command.add_option_group("Flow", "one of --preset, --spec and --warm-start");
  auto* preset = flow->add_option(
      "--preset", flags.preset,
      "Named model: affine, elementwise, nice, realnvp, maf, iaf, nsf_coupling, nsf_ar, circular_nsf, naf, "
      "gaussianization, planar, radial, sylvester, residual, ffjord, flow_matching, glow or realnvp_image");
  flow->add_option("--spec", flags.spec_file, "A whole FlowSpec as protobuf JSON; - is the standard input");
  flow->add_option("--warm-start", flags.warm_start,
                   "Model version to go on from: its flow, weights and preprocessing, for example power@3");
  flow->require_option(1);
  auto* options = command.add_option_group("Preset options");
  options->add_option("--transforms", flags.transforms, "Coupling or autoregressive layers; of images, in each scale");
  options->add_option("--hidden", flags.hidden, "Widths of hidden layers, for example 128,128")->delimiter(',');
  AddEnum(*options, "--activation", flags.activation, "Activation function", *v1::Activation_descriptor());
  options->add_flag("--residual", flags.residual, "Residual conditioners");
  options->add_option("--residual-blocks", flags.residual_blocks, "Blocks of a residual conditioner");
  options->add_option("--dropout", flags.dropout, "Dropout in residual conditioners");
  AddEnum(*options, "--mixing", flags.mixing, "What stands between two transforms", *v1::Preset::Mixing_descriptor());
  options->add_flag("--actnorm", flags.actnorm, "An ActNorm between transforms");
  options->add_flag("--learnt-base", flags.learnt_base, "Learn the base's mean and scale");
  options->add_flag("--no-standardize", flags.no_standardize,
                    "Leave the standardisation out; of images, pixels need not be 0 ... 255");
  options->add_option("--image", flags.image,
                      "glow, realnvp_image: channels x height x width of the image that the columns hold, one channel "
                      "after the other, row by row, for example 3x32x32");
  options->add_option("--levels", flags.levels, "glow, realnvp_image: scales [2]");
  options->add_option("--flow-seed", flags.flow_seed, "Seed of random permutations");
  options
      ->add_option(
          "--preprocess", flags.preprocess,
          "How a column is mapped first: NAME=WORD,WORD of " + PreprocessWords() +
              ". Repeat for each column; the others, or all of them with `automatic`, are chosen from the data")
      ->allow_extra_args(false)
      ->needs(preset);
  options
      ->add_option("--encode-context", flags.encode_context,
                   "The same for context columns, which also take missing (NaN), unknown (categories) and embedding:N")
      ->allow_extra_args(false)
      ->needs(preset);
  options
      ->add_option("--preset-options", flags.preset_options,
                   "Its other options, as JSON or @FILE: {\"bins\": 16, \"base\": {\"studentT\": {}}}. Flags win")
      ->needs(preset);
}

void DefineData(CLI::App& command, TrainFlags& flags) {
  auto* data = command.add_option_group("Data", "one of --data, --dataset and --server-file");
  data->add_option("--data", flags.data_file, "CSV, NPY or JSON file, uploaded as a dataset; - is the standard input");
  data->add_option("--dataset", flags.dataset, "Id of a dataset that was uploaded before");
  data->add_option("--server-file", flags.server_file, "CSV or NPY file below the server's --data-root");
  data->require_option(1);
  auto* columns = command.add_option_group("Columns");
  columns->add_option("--names", flags.column_names, "Names of the data's columns, in order")->delimiter(',');
  columns->add_option("--columns", flags.feature_columns, "Columns to model. Default: all that are not context")
      ->delimiter(',');
  columns->add_option("--context-columns", flags.context_columns, "Columns that the density is conditioned on")
      ->delimiter(',');
}

void DefineOptions(CLI::App& command, TrainFlags& flags) {
  auto* group = command.add_option_group("Training", "defaults in brackets");
  group->add_option("--steps", flags.steps, "Optimiser steps [2000]");
  group->add_option("--batch-size", flags.batch_size, "Rows per step [512]");
  group->add_option("--learning-rate", flags.learning_rate, "[1e-3]");
  AddEnum(*group, "--optimizer", flags.optimizer, "[adam]", *Options::Optimizer_descriptor());
  group->add_option("--weight-decay", flags.weight_decay, "[0 for adam, 1e-2 for adamw]");
  AddEnum(*group, "--schedule", flags.schedule, "Learning-rate schedule [cosine]", *Options::Schedule_descriptor());
  group->add_option("--warmup-steps", flags.warmup_steps, "Steps of linear warm-up [0]");
  group->add_option("--clip-norm", flags.clip_norm, "Bound of the gradient norm; 0: none [5]");
  group->add_option("--ema-decay", flags.ema_decay, "Decay of the moving average of the weights; 0: none [0]");
  group->add_option("--validation-fraction", flags.validation_fraction, "Share of rows held out [0.1]");
  group->add_option("--validation-interval", flags.validation_interval, "Steps between validations [steps / 20]");
  group->add_option("--patience", flags.patience, "Validations without improvement before it stops; 0: never [0]");
  group->add_option("--seed", flags.seed, "Seed of split, weights and batches [0]");
  group->add_option("--threads", flags.threads, "Threads of the training process [1]");
  AddEnum(*group, "--trainer", flags.trainer, "What takes the steps [compiled]", *Options::Trainer_descriptor());
}

void DefineRun(CLI::App& command, TrainFlags& flags) {
  auto* group = command.add_option_group("Run");
  group->add_option("--priority", flags.priority, "Of trainings that wait, the highest starts first; -100 to 100 [0]");
  group->add_option("--max-memory", flags.max_memory, "Memory of its process, for example 4GiB [the server's limit]")
      ->transform(CLI::AsSizeValue(false));
  group->add_option("--max-seconds", flags.max_seconds, "Seconds that it may run [the server's limit]");
  group->add_option("--checkpoint-interval", flags.checkpoint_interval,
                    "Seconds between checkpoints; 0: only when the server stops [30]");
  group->add_option("--idempotency-key", flags.idempotency_key,
                    "The same key and request return the training that was started first [random]");
}

/// Reads "3x32x32".
absl::Status ParseImage(const std::string& text, v1::ImageShape& image) {
  const std::vector<std::string> sides = absl::StrSplit(text, 'x');
  uint32_t numbers[3] = {};
  bool valid = sides.size() == std::size(numbers);
  for (size_t i = 0; valid && i < sides.size(); ++i) valid = absl::SimpleAtoi(sides[i], &numbers[i]);
  if (!valid) {
    return absl::InvalidArgumentError(
        absl::StrCat("--image ", text, ": give channels x height x width, such as 3x32x32"));
  }
  image.set_channels(numbers[0]);
  image.set_height(numbers[1]);
  image.set_width(numbers[2]);
  return absl::OkStatus();
}

/// Reads "{…}", or "@file" with that in it.
absl::Status ReadPresetOptions(const std::string& text, Session& session, v1::Preset& preset) {
  std::string json = text;
  if (absl::StartsWith(text, "@")) {
    absl::StatusOr<std::string> file = ReadInput(text.substr(1), session.streams.in);
    if (!file.ok()) return file.status();
    json = *std::move(file);
  }
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &preset);
  if (parsed.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--preset-options: is no Preset: ", parsed.ToString()));
}

absl::Status FillPreset(const TrainFlags& flags, Session& session, v1::Preset& preset) {
  if (!flags.preset_options.empty()) {
    if (absl::Status status = ReadPresetOptions(flags.preset_options, session, preset); !status.ok()) return status;
  }
  preset.set_name(flags.preset);
  if (flags.transforms) preset.set_transforms(*flags.transforms);
  if (!flags.hidden.empty()) preset.mutable_hidden()->Assign(flags.hidden.begin(), flags.hidden.end());
  if (!flags.activation.empty()) {
    preset.set_activation(static_cast<v1::Activation>(EnumNumber(*v1::Activation_descriptor(), flags.activation)));
  }
  if (flags.residual) preset.set_residual(true);
  if (flags.residual_blocks) preset.set_residual_blocks(*flags.residual_blocks);
  if (flags.dropout) preset.set_dropout(*flags.dropout);
  if (!flags.mixing.empty()) {
    preset.set_mixing(static_cast<v1::Preset::Mixing>(EnumNumber(*v1::Preset::Mixing_descriptor(), flags.mixing)));
  }
  if (flags.actnorm) preset.set_actnorm(true);
  if (flags.learnt_base) preset.set_learnt_base(true);
  if (flags.no_standardize) preset.set_no_standardize(true);
  if (flags.flow_seed) preset.set_seed(*flags.flow_seed);
  if (flags.levels) preset.set_levels(*flags.levels);
  if (!flags.image.empty()) {
    if (absl::Status status = ParseImage(flags.image, *preset.mutable_image()); !status.ok()) return status;
  }
  if (!flags.preprocess.empty()) {
    absl::Status status = ParsePreprocessing("--preprocess", flags.preprocess, *preset.mutable_preprocessing());
    if (!status.ok()) return status;
  }
  if (flags.encode_context.empty()) return absl::OkStatus();
  return ParsePreprocessing("--encode-context", flags.encode_context, *preset.mutable_context_encoding());
}

void FillOptions(const TrainFlags& flags, Options& options) {
  if (flags.steps) options.set_steps(*flags.steps);
  if (flags.batch_size) options.set_batch_size(*flags.batch_size);
  if (flags.learning_rate) options.set_learning_rate(*flags.learning_rate);
  if (!flags.optimizer.empty()) {
    options.set_optimizer(
        static_cast<Options::Optimizer>(EnumNumber(*Options::Optimizer_descriptor(), flags.optimizer)));
  }
  if (flags.weight_decay) options.set_weight_decay(*flags.weight_decay);
  if (!flags.schedule.empty()) {
    options.set_schedule(static_cast<Options::Schedule>(EnumNumber(*Options::Schedule_descriptor(), flags.schedule)));
  }
  if (flags.warmup_steps) options.set_warmup_steps(*flags.warmup_steps);
  if (flags.clip_norm) options.set_clip_norm(*flags.clip_norm);
  if (flags.ema_decay) options.set_ema_decay(*flags.ema_decay);
  if (flags.validation_fraction) options.set_validation_fraction(*flags.validation_fraction);
  if (flags.validation_interval) options.set_validation_interval(*flags.validation_interval);
  if (flags.patience) options.set_patience(*flags.patience);
  if (flags.seed) options.set_seed(*flags.seed);
  if (flags.threads) options.set_threads(*flags.threads);
  if (!flags.trainer.empty()) {
    options.set_trainer(static_cast<Options::Trainer>(EnumNumber(*Options::Trainer_descriptor(), flags.trainer)));
  }
  if (flags.checkpoint_interval) options.set_checkpoint_interval_seconds(*flags.checkpoint_interval);
}

absl::Status ReadSpec(const std::string& path, Session& session, v1::FlowSpec* spec) {
  const absl::StatusOr<std::string> json = ReadInput(path, session.streams.in);
  if (!json.ok()) return json.status();
  const auto parsed = google::protobuf::util::JsonStringToMessage(*json, spec);
  if (parsed.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": is no FlowSpec: ", parsed.ToString()));
}

}  // namespace

void DefineTrainFlags(CLI::App& command, TrainFlags& flags) {
  command.add_option("model", flags.model, "Name of the model that gets a new version")->required();
  DefineFlow(command, flags);
  DefineData(command, flags);
  DefineOptions(command, flags);
  DefineRun(command, flags);
  command.add_option("--alias", flags.alias, "Alias to move to the new version, beside latest");
  command.add_flag("--watch,!--detach", flags.watch, "Follow the training to its end (the default), or only start it");
  command.add_flag("--json", flags.json, "Print the training as JSON");
}

absl::StatusOr<v1::TrainRequest> MakeTrainRequest(const TrainFlags& flags, Session& session) {
  v1::TrainRequest request;
  request.set_model(flags.model);
  if (!flags.spec_file.empty()) {
    if (absl::Status status = ReadSpec(flags.spec_file, session, request.mutable_spec()); !status.ok()) return status;
  } else if (!flags.preset.empty()) {
    if (absl::Status status = FillPreset(flags, session, *request.mutable_preset()); !status.ok()) return status;
  }
  request.set_warm_start(flags.warm_start);
  if (!flags.dataset.empty()) request.set_dataset(flags.dataset);
  if (!flags.server_file.empty()) request.set_file(flags.server_file);
  request.mutable_columns()->Add(flags.column_names.begin(), flags.column_names.end());
  request.mutable_feature_columns()->Add(flags.feature_columns.begin(), flags.feature_columns.end());
  request.mutable_context_columns()->Add(flags.context_columns.begin(), flags.context_columns.end());
  FillOptions(flags, *request.mutable_options());
  if (flags.priority) request.set_priority(*flags.priority);
  if (flags.max_memory) request.mutable_limits()->set_memory_bytes(*flags.max_memory);
  if (flags.max_seconds) request.mutable_limits()->set_seconds(*flags.max_seconds);
  request.set_idempotency_key(flags.idempotency_key);
  request.set_alias(flags.alias);
  return request;
}

std::vector<std::string> MissingColumns(const v1::TrainRequest& request) {
  const auto& columns = request.has_preset() ? request.preset().context_encoding().columns()
                                             : request.spec().context_encoding().columns();
  std::vector<std::string> missing;
  for (int i = 0; i < columns.size(); ++i) {
    if (!columns[i].accept_missing()) continue;
    // An entry without a name is that of the column at its place.
    if (!columns[i].name().empty()) missing.push_back(columns[i].name());
    if (columns[i].name().empty() && i < request.context_columns_size()) missing.push_back(request.context_columns(i));
  }
  return missing;
}

}  // namespace densityd::ctl
