// sample: rows drawn from a model, written as they come.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/model_rows.h"
#include "client/ctl/progress.h"
#include "client/ctl/table_writer.h"
#include "client/ctl/tables.h"

namespace densityd::ctl {
namespace {

struct SampleFlags {
  std::string model;
  std::optional<uint64_t> rows;
  std::optional<uint64_t> seed;
  uint64_t row_offset = 0;
  std::string context;
  bool log_prob = false;
  bool float64 = false;
  OutputFlags output;
};

void Define(CLI::App& command, SampleFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
  command.add_option("-n,--rows", flags.rows, "Number of rows. Default: 1, or one for each row of --context");
  command.add_option("--seed", flags.seed,
                     "The same seed gives the same rows. Default: drawn by the server (and said with --format json)");
  command.add_option("--row-offset", flags.row_offset, "Index of the first row in the endless sample of the seed")
      ->capture_default_str();
  AddContextFlag(command, flags.context);
  command.add_flag("--log-prob", flags.log_prob, "Add a column with log p of each row, in nats");
  command.add_flag("--float64", flags.float64, "Compute in float64; several times slower");
  AddOutputFlags(command, flags.output);
}

/// The rows, each with its log p where there is one.
std::vector<double> ValuesOf(const SampleResult<double>& chunk) {
  if (chunk.log_prob.empty()) return chunk.rows.values;
  std::vector<double> values;
  values.reserve(chunk.rows.values.size() + chunk.log_prob.size());
  for (size_t row = 0; row < chunk.rows.rows; ++row) {
    values.insert(values.end(), chunk.rows[row].begin(), chunk.rows[row].end());
    values.push_back(chunk.log_prob[row]);
  }
  return values;
}

absl::Status Run(Session& session, const SampleFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<ModelColumns> model = FetchColumns(*client, flags.model);
  if (!model.ok()) return model.status();
  const absl::StatusOr<Table> context = ReadContext(flags.context, *model, session);
  if (!context.ok()) return context.status();

  SampleOptions<double> options = {.seed = flags.seed,
                                   .row_offset = flags.row_offset,
                                   .log_prob = flags.log_prob,
                                   .precision = flags.float64 ? Precision::kFloat64 : Precision::kFloat32};
  if (context->rows > 0) options.context = {context->values, context->cols};
  const uint64_t rows = flags.rows.value_or(std::max<uint64_t>(context->rows, 1));
  absl::StatusOr<SampleStream<double>> stream = client->StreamSample<double>(model->model, rows, options);
  if (!stream.ok()) return stream.status();

  std::vector<std::string> columns = model->features;
  if (flags.log_prob) columns.emplace_back("log_prob");
  std::unique_ptr<TableWriter> writer;
  RowProgressView progress(session.streams, flags.output.path != "-");
  SampleResult<double> chunk;
  uint64_t drawn = 0;
  while (true) {
    const absl::StatusOr<bool> more = stream->Next(chunk);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (writer == nullptr) {
      auto opened = TableWriter::Open(flags.output, columns, {{"model", chunk.model.ToString()}, {"seed", chunk.seed}},
                                      rows, session);
      if (!opened.ok()) return opened.status();
      writer = *std::move(opened);
    }
    if (absl::Status status = writer->Write(ValuesOf(chunk)); !status.ok()) return status;
    drawn += chunk.rows.rows;
    progress.Show(drawn, static_cast<double>(drawn) / static_cast<double>(rows));
  }
  return writer->Finish();
}

}  // namespace

void AddSampleCommand(CLI::App& app, Session& session) {
  AddCommand<SampleFlags>(app, session, "sample", "Rows drawn from a model, as many as you like",
                          "  densityctl sample power --rows 1000 --seed 7 > sample.csv\n"
                          "  densityctl sample power@3 --rows 1000000000 -o sample.npy --log-prob\n"
                          "  densityctl sample weather --context winter.csv --rows 100",
                          Define, Run);
}

}  // namespace densityd::ctl
