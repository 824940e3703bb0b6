// logprob, inverse, forward: rows in, numbers out.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/model_rows.h"
#include "client/ctl/tables.h"

namespace densityd::ctl {
namespace {

struct RowFlags {
  std::string model;
  RowsFlags rows;
  OutputFlags output;
  bool tail_probability = false;
  bool log_abs_det = false;
  bool float64 = false;
};

void DefineCommonFlags(CLI::App& command, RowFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
  AddRowsFlags(command, flags.rows);
  AddOutputFlags(command, flags.output);
  command.add_flag("--float64", flags.float64, "Compute in float64; several times slower");
}

Precision PrecisionOf(const RowFlags& flags) { return flags.float64 ? Precision::kFloat64 : Precision::kFloat32; }

/// Appends a column to a table.
void AddColumn(Table& table, const std::string& name, const std::vector<double>& column) {
  Table wider = {.rows = column.size(), .cols = table.cols + 1, .columns = table.columns, .values = {}};
  wider.columns.push_back(name);
  wider.values.reserve(wider.rows * wider.cols);
  for (size_t row = 0; row < wider.rows; ++row) {
    const auto begin = table.values.begin() + static_cast<ptrdiff_t>(row * table.cols);
    wider.values.insert(wider.values.end(), begin, begin + static_cast<ptrdiff_t>(table.cols));
    wider.values.push_back(column[row]);
  }
  table = std::move(wider);
}

absl::Status RunLogProb(Session& session, const RowFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<ModelColumns> model = FetchColumns(*client, flags.model);
  if (!model.ok()) return model.status();
  const absl::StatusOr<ModelRows> rows = ReadModelRows(flags.rows, *model, /*base_space=*/false, session);
  if (!rows.ok()) return rows.status();
  const absl::StatusOr<LogProbResult<double>> answer = client->LogProb(
      model->model, rows->rows_view(),
      {.context = rows->context_view(), .tail_probability = flags.tail_probability, .precision = PrecisionOf(flags)});
  if (!answer.ok()) return answer.status();
  Table table;
  AddColumn(table, "log_prob", answer->log_prob);
  if (flags.tail_probability) AddColumn(table, "tail_probability", answer->tail_probability);
  return WriteTable(table, {{"model", answer->model.ToString()}}, flags.output, session);
}

/// Inverse and Forward.
absl::Status RunMap(Session& session, const RowFlags& flags, bool inverse) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<ModelColumns> model = FetchColumns(*client, flags.model);
  if (!model.ok()) return model.status();
  const absl::StatusOr<ModelRows> rows = ReadModelRows(flags.rows, *model, /*base_space=*/!inverse, session);
  if (!rows.ok()) return rows.status();
  const MapOptions<double> options = {.context = rows->context_view(), .precision = PrecisionOf(flags)};
  absl::StatusOr<MapResult<double>> answer = inverse ? client->Inverse(model->model, rows->rows_view(), options)
                                                     : client->Forward(model->model, rows->rows_view(), options);
  if (!answer.ok()) return answer.status();
  Table table = {.rows = answer->rows.rows,
                 .cols = answer->rows.cols,
                 .columns = model->features,
                 .values = std::move(answer->rows.values)};
  for (size_t i = 0; inverse && i < table.columns.size(); ++i) table.columns[i] = absl::StrCat("z", i);
  if (flags.log_abs_det) AddColumn(table, "log_abs_det", answer->log_abs_det);
  return WriteTable(table, {{"model", answer->model.ToString()}}, flags.output, session);
}

absl::Status RunInverse(Session& session, const RowFlags& flags) { return RunMap(session, flags, /*inverse=*/true); }
absl::Status RunForward(Session& session, const RowFlags& flags) { return RunMap(session, flags, /*inverse=*/false); }

void DefineLogProb(CLI::App& command, RowFlags& flags) {
  DefineCommonFlags(command, flags);
  command.add_flag("--tail-probability", flags.tail_probability,
                   "Add the share of the model's validation rows that were at most this likely: small means unusual");
}

void DefineMap(CLI::App& command, RowFlags& flags) {
  DefineCommonFlags(command, flags);
  command.add_flag("--log-abs-det", flags.log_abs_det, "Add a column with log|det| of the map");
}

}  // namespace

void AddRowCommands(CLI::App& app, Session& session) {
  AddCommand<RowFlags>(app, session, "logprob", "log p of rows, in nats of the original columns",
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
}

}  // namespace densityd::ctl
