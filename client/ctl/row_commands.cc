// logprob, inverse, forward, score: rows in, numbers out, in tables of any size.
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

struct RowFlags {
  std::string model;
  RowsFlags rows;
  OutputFlags output;
  bool tail_probability = false;
  bool accept_non_finite = false;
  bool refuse_outside_support = false;
  bool standard_error = false;
  bool log = false;  ///< log|det| of the map, or log p
  bool float64 = false;
};

void DefineCommonFlags(CLI::App& command, RowFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
  AddRowsFlags(command, flags.rows);
  AddOutputFlags(command, flags.output);
  command.add_flag("--float64", flags.float64, "Compute in float64; several times slower");
}

Precision PrecisionOf(const RowFlags& flags) { return flags.float64 ? Precision::kFloat64 : Precision::kFloat32; }

/// (N, cols) and (N) or nothing: (N, cols + 1).
void AddColumn(const std::vector<double>& column, size_t cols, std::vector<double>& values) {
  std::vector<double> wider;
  wider.reserve(values.size() + column.size());
  for (size_t row = 0; row < column.size(); ++row) {
    const auto begin = values.begin() + static_cast<ptrdiff_t>(row * cols);
    wider.insert(wider.end(), begin, begin + static_cast<ptrdiff_t>(cols));
    wider.push_back(column[row]);
  }
  values = std::move(wider);
}

/// What the commands on rows have in common: rows that are read, and answers that are written.
struct RowPipe {
  ModelColumns model;
  std::optional<ModelRowReader> rows;
  std::unique_ptr<TableWriter> writer;
};

absl::StatusOr<RowPipe> OpenPipe(Session& session, const Client& client, const RowFlags& flags, bool base_space) {
  RowPipe pipe;
  absl::StatusOr<ModelColumns> model = FetchColumns(client, flags.model);
  if (!model.ok()) return model.status();
  pipe.model = *std::move(model);
  absl::StatusOr<ModelRowReader> rows = ModelRowReader::Open(flags.rows, pipe.model, base_space, session);
  if (!rows.ok()) return rows.status();
  pipe.rows = *std::move(rows);
  return pipe;
}

absl::Status RunLogProb(Session& session, const RowFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  absl::StatusOr<RowPipe> pipe = OpenPipe(session, *client, flags, /*base_space=*/false);
  if (!pipe.ok()) return pipe.status();
  RowProgressView progress(session.streams, flags.output.path != "-");
  uint64_t answered = 0;
  const auto write = [&](const LogProbResult<double>& answer) {
    // Not before the first answer: an error leaves no empty table.
    if (pipe->writer == nullptr) {
      std::vector<std::string> columns = {"log_prob"};
      if (flags.tail_probability) columns.emplace_back("tail_probability");
      if (flags.standard_error) columns.emplace_back("standard_error");
      auto writer = TableWriter::Open(flags.output, std::move(columns), {{"model", answer.model.ToString()}},
                                      /*rows=*/std::nullopt, session);
      if (!writer.ok()) return writer.status();
      pipe->writer = *std::move(writer);
    }
    std::vector<double> values = answer.log_prob;
    if (flags.tail_probability) AddColumn(answer.tail_probability, 1, values);
    if (flags.standard_error) AddColumn(answer.standard_error, flags.tail_probability ? 2 : 1, values);
    answered += answer.log_prob.size();
    progress.Show(answered, pipe->rows->share_read());
    return pipe->writer->Write(values);
  };
  absl::StatusOr<LogProbStream<double>> stream =
      client->StreamLogProb<double>(pipe->model.model, write,
                                    {.tail_probability = flags.tail_probability,
                                     .standard_error = flags.standard_error,
                                     .precision = PrecisionOf(flags),
                                     .accept_non_finite = flags.accept_non_finite,
                                     .refuse_outside_support = flags.refuse_outside_support});
  if (!stream.ok()) return stream.status();
  ModelRows block;
  while (true) {
    const absl::StatusOr<bool> more = pipe->rows->Next(block);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (absl::Status status = stream->Send(block.rows_view(), block.context_view()); !status.ok()) return status;
  }
  const absl::StatusOr<ModelVersion> finished = stream->Finish();
  if (!finished.ok()) return finished.status();
  return pipe->writer->Finish();
}

/// An answer of Inverse, Forward or Score.
struct Mapped {
  ModelVersion model;
  Rows<double> rows;
  std::vector<double> log;
};

/// What tells Inverse, Forward and Score from each other.
struct MapCommand {
  bool base_space;     ///< of the rows that are read
  const char* prefix;  ///< of the columns' names; null: they are numbered z0, z1, …
  const char* log;     ///< name of the column that --log-abs-det or --log-prob adds
  absl::StatusOr<Mapped> (*call)(const Client&, const std::string&, RowsView<double>, const MapOptions<double>&);
};

absl::StatusOr<Mapped> ToMapped(absl::StatusOr<MapResult<double>> answer) {
  if (!answer.ok()) return answer.status();
  return Mapped{std::move(answer->model), std::move(answer->rows), std::move(answer->log_abs_det)};
}

constexpr MapCommand kInverse = {
    .base_space = false,
    .prefix = nullptr,
    .log = "log_abs_det",
    .call = [](const Client& client, const std::string& model, RowsView<double> rows,
               const MapOptions<double>& options) { return ToMapped(client.Inverse(model, rows, options)); }};
constexpr MapCommand kForward = {
    .base_space = true,
    .prefix = "",
    .log = "log_abs_det",
    .call = [](const Client& client, const std::string& model, RowsView<double> rows,
               const MapOptions<double>& options) { return ToMapped(client.Forward(model, rows, options)); }};
constexpr MapCommand kScore = {
    .base_space = false,
    .prefix = "score_",
    .log = "log_prob",
    .call = [](const Client& client, const std::string& model, RowsView<double> rows,
               const MapOptions<double>& options) -> absl::StatusOr<Mapped> {
      absl::StatusOr<ScoreResult<double>> answer = client.Score(model, rows, options);
      if (!answer.ok()) return answer.status();
      return Mapped{std::move(answer->model), std::move(answer->score), std::move(answer->log_prob)};
    }};

absl::Status RunMap(Session& session, const RowFlags& flags, const MapCommand& map) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  absl::StatusOr<RowPipe> pipe = OpenPipe(session, *client, flags, map.base_space);
  if (!pipe.ok()) return pipe.status();
  std::vector<std::string> columns = pipe->model.features;
  for (size_t i = 0; i < columns.size(); ++i) {
    columns[i] = map.prefix == nullptr ? absl::StrCat("z", i) : absl::StrCat(map.prefix, columns[i]);
  }
  if (flags.log) columns.emplace_back(map.log);
  RowProgressView progress(session.streams, flags.output.path != "-");
  ModelRows block;
  while (true) {
    const absl::StatusOr<bool> more = pipe->rows->Next(block);
    if (!more.ok()) return more.status();
    if (!*more) break;
    const MapOptions<double> options = {.context = block.context_view(), .precision = PrecisionOf(flags)};
    absl::StatusOr<Mapped> answer = map.call(*client, pipe->model.model, block.rows_view(), options);
    if (!answer.ok()) return answer.status();
    if (pipe->writer == nullptr) {
      auto writer = TableWriter::Open(flags.output, columns, {{"model", answer->model.ToString()}},
                                      /*rows=*/std::nullopt, session);
      if (!writer.ok()) return writer.status();
      pipe->writer = *std::move(writer);
    }
    if (flags.log) AddColumn(answer->log, answer->rows.cols, answer->rows.values);
    if (absl::Status status = pipe->writer->Write(answer->rows.values); !status.ok()) return status;
    progress.Show(pipe->rows->rows_read(), pipe->rows->share_read());
  }
  return pipe->writer->Finish();
}

absl::Status RunInverse(Session& session, const RowFlags& flags) { return RunMap(session, flags, kInverse); }
absl::Status RunForward(Session& session, const RowFlags& flags) { return RunMap(session, flags, kForward); }
absl::Status RunScore(Session& session, const RowFlags& flags) { return RunMap(session, flags, kScore); }

void DefineLogProb(CLI::App& command, RowFlags& flags) {
  DefineCommonFlags(command, flags);
  command.add_flag("--tail-probability", flags.tail_probability,
                   "Add the share of the model's validation rows that were at most this likely: small means unusual");
  command.add_flag("--accept-non-finite", flags.accept_non_finite,
                   "Answer nan for rows with NaN or infinities in them, instead of an error for all");
  command.add_flag("--refuse-outside-support", flags.refuse_outside_support,
                   "An error that names the first row whose density is zero, instead of -inf for it");
  command.add_flag("--standard-error", flags.standard_error,
                   "Add how far log p may be off where the model estimates it (0: it is exact); 8 times as slow there");
}

void DefineMap(CLI::App& command, RowFlags& flags) {
  DefineCommonFlags(command, flags);
  command.add_flag("--log-abs-det", flags.log, "Add a column with log|det| of the map");
}

void DefineScore(CLI::App& command, RowFlags& flags) {
  DefineCommonFlags(command, flags);
  command.add_flag("--log-prob", flags.log, "Add a column with log p of each row");
}

}  // namespace

void AddRowCommands(CLI::App& app, Session& session) {
  AddCommand<RowFlags>(app, session, "logprob", "log p of rows, in nats of the original columns; of tables of any size",
                       "  densityctl logprob power rows.csv --tail-probability\n"
                       "  densityctl logprob power@stable rows.npy -o log_prob.npy\n"
                       "  densityctl logprob weather day.csv --context-columns month,station\n"
                       "  echo '[[1.5, 0.2]]' | densityctl logprob moons --format json",
                       DefineLogProb, RunLogProb);
  AddCommand<RowFlags>(app, session, "inverse", "Data to base: x -> z",
                       "  densityctl inverse power rows.csv -o z.npy\n"
                       "  densityctl inverse power rows.csv --log-abs-det\n"
                       "  densityctl inverse power rows.csv | densityctl forward power > same-rows.csv",
                       DefineMap, RunInverse);
  AddCommand<RowFlags>(app, session, "forward", "Base to data: z -> x",
                       "  densityctl forward power z.npy -o rows.csv\n"
                       "  densityctl inverse power rows.csv | densityctl forward power > same-rows.csv",
                       DefineMap, RunForward);
  AddCommand<RowFlags>(app, session, "score", "Gradient of log p by each column, in nats per unit of the column",
                       "  densityctl score power rows.csv\n"
                       "  densityctl score power rows.npy --log-prob -o score.npy",
                       DefineScore, RunScore);
}

}  // namespace densityd::ctl
