// explain: which columns make a row surprising, and what was expected there.
#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/ctl/commands.h"
#include "client/ctl/explain_report.h"
#include "client/ctl/model_rows.h"
#include "client/ctl/table_writer.h"
#include "client/ctl/tables.h"

namespace densityd::ctl {
namespace {

struct ExplainFlags {
  std::string model;
  RowsFlags rows;
  OutputFlags output;
  std::vector<std::string> only;
  size_t top = 3;
  bool chain = false;
  bool float64 = false;
};

/// Rows that are explained in one call, so that the first answers come soon.
constexpr size_t kRowsPerCall = 64;

std::vector<uint32_t> AllPlaces(const ModelColumns& model) {
  std::vector<uint32_t> places(model.features.size());
  std::iota(places.begin(), places.end(), 0);
  return places;
}

/// Places of the columns to explain among the model's.
absl::StatusOr<std::vector<uint32_t>> Places(const std::vector<std::string>& names, const ModelColumns& model) {
  std::vector<uint32_t> places;
  for (const std::string& name : names) {
    const auto found = std::find(model.features.begin(), model.features.end(), name);
    if (found == model.features.end()) {
      return absl::InvalidArgumentError(absl::StrCat("--only: ", model.model, " has no column '", name, "'; it has ",
                                                     absl::StrJoin(model.features, ", ")));
    }
    places.push_back(static_cast<uint32_t>(found - model.features.begin()));
  }
  return places.empty() ? AllPlaces(model) : places;
}

/// What is said of rows, one after another.
class Report {
 public:
  virtual ~Report() = default;
  /// `first` is the index of the first of these rows in the table.
  virtual absl::Status Add(uint64_t first, RowsView<double> rows, const Explanation<double>& answer) = 0;
  virtual absl::Status Finish() { return absl::OkStatus(); }
};

/// For people: the most unusual columns of each row.
class TextReport final : public Report {
 public:
  /// `ask` explains all columns of one row of those that are added.
  using Ask = std::function<absl::StatusOr<Explanation<double>>(uint64_t row)>;

  TextReport(Session& session, const ModelColumns& model, std::vector<uint32_t> places, size_t top, const Ask& ask)
      : out_(session.streams.out), model_(model), places_(std::move(places)), top_(top), ask_(ask) {}

  absl::Status Add(uint64_t first, RowsView<double> rows, const Explanation<double>& answer) override {
    for (size_t row = 0; row < rows.rows(); ++row) {
      if (first + row > 0) out_ << "\n";
      if (first + row == 0) SayOrder(answer);
      out_ << "Row " << first + row << ": log p " << absl::StrFormat("%.3f", answer.log_prob[row]) << " nats by "
           << answer.model.ToString() << "\n";
      std::vector<ExplainedColumn> columns = Columns(rows, row, answer, row, places_);
      SortByUnusualness(columns);
      auto impossible = Impossible(rows, row, columns);
      if (!impossible.ok()) return impossible.status();
      SayMostUnusual(out_, answer.log_prob[row], columns, *impossible);
      PrintColumns(out_, columns, top_);
    }
    return absl::OkStatus();
  }

 private:
  /// Row `row` of `rows`, of which row `answered` of `answer` explains the columns at `places`.
  std::vector<ExplainedColumn> Columns(RowsView<double> rows, size_t row, const Explanation<double>& answer,
                                       size_t answered, const std::vector<uint32_t>& places) const {
    std::vector<ExplainedColumn> columns;
    for (size_t j = 0; j < places.size(); ++j) {
      columns.push_back({.name = model_.features[places[j]],
                         .value = rows.values()[row * rows.cols() + places[j]],
                         .surprise = answer.surprise[answered][j],
                         .tail_probability = answer.tail_probability[answered][j],
                         .median = answer.median[answered][j],
                         .lower = answer.lower[answered][j],
                         .upper = answer.upper[answered][j],
                         .chain = {}});
      if (answer.chain_rule.rows > 0) {
        columns.back().chain = absl::StrFormat("%.2f", answer.chain_rule[answered][places[j]]);
      }
    }
    return columns;
  }

  /// The columns of a row whose values cannot be. Others are asked for where some have no expectation for their sake.
  absl::StatusOr<std::vector<ExplainedColumn>> Impossible(RowsView<double> rows, size_t row,
                                                          std::vector<ExplainedColumn> columns) const {
    const bool has_unknown = std::any_of(columns.begin(), columns.end(),
                                         [](const ExplainedColumn& column) { return !column.has_expectation(); });
    if (has_unknown && columns.size() < model_.features.size()) {
      const auto answer = ask_(row);
      if (!answer.ok()) return answer.status();
      columns = Columns(rows, row, *answer, 0, AllPlaces(model_));
    }
    columns.erase(std::remove_if(columns.begin(), columns.end(),
                                 [](const ExplainedColumn& column) { return !column.is_impossible(); }),
                  columns.end());
    return columns;
  }

  void SayOrder(const Explanation<double>& answer) {
    if (answer.chain_order.empty()) return;
    std::vector<std::string> names;
    for (uint32_t column : answer.chain_order) names.push_back(model_.features[column]);
    out_ << "CHAIN: nats given the columns before, in the order " << absl::StrJoin(names, ", ")
         << "; all of them add up to -log p\n\n";
  }

  std::ostream& out_;
  const ModelColumns& model_;
  const std::vector<uint32_t> places_;
  const size_t top_;
  const Ask& ask_;
};

/// For programs: one line per row and column.
class TableReport final : public Report {
 public:
  TableReport(Session& session, const OutputFlags& output, std::vector<uint32_t> places)
      : session_(session), output_(output), places_(std::move(places)) {}

  absl::Status Add(uint64_t first, RowsView<double> rows, const Explanation<double>& answer) override {
    const bool has_chain = answer.chain_rule.rows > 0;
    if (writer_ == nullptr) {
      std::vector<std::string> columns = {"row",    "column", "value", "surprise", "tail_probability",
                                          "median", "lower",  "upper", "error"};
      if (has_chain) columns.emplace_back("chain_rule");
      auto writer =
          TableWriter::Open(output_, std::move(columns), {{"model", answer.model.ToString()}}, std::nullopt, session_);
      if (!writer.ok()) return writer.status();
      writer_ = *std::move(writer);
    }
    std::vector<double> values;
    for (size_t row = 0; row < rows.rows(); ++row) {
      for (size_t j = 0; j < places_.size(); ++j) {
        values.insert(values.end(), {static_cast<double>(first + row), static_cast<double>(places_[j]),
                                     rows.values()[row * rows.cols() + places_[j]], answer.surprise[row][j],
                                     answer.tail_probability[row][j], answer.median[row][j], answer.lower[row][j],
                                     answer.upper[row][j], answer.error[row][j]});
        if (has_chain) values.push_back(answer.chain_rule[row][places_[j]]);
      }
    }
    return writer_->Write(values);
  }

  absl::Status Finish() override { return writer_ == nullptr ? absl::OkStatus() : writer_->Finish(); }

 private:
  Session& session_;
  const OutputFlags& output_;
  const std::vector<uint32_t> places_;
  std::unique_ptr<TableWriter> writer_;
};

absl::Status RunExplain(Session& session, const ExplainFlags& flags) {
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<ModelColumns> model = FetchColumns(*client, flags.model);
  if (!model.ok()) return model.status();
  const absl::StatusOr<std::vector<uint32_t>> places = Places(flags.only, *model);
  if (!places.ok()) return places.status();
  absl::StatusOr<ModelRowReader> reader = ModelRowReader::Open(flags.rows, *model, /*base_space=*/false, session);
  if (!reader.ok()) return reader.status();
  // Of the rows and their context that are being explained.
  RowsView<double> rows;
  RowsView<double> context;
  const auto ask = [&](RowsView<double> asked, RowsView<double> given, const std::vector<uint32_t>& columns) {
    return client->Explain(model->model, asked,
                           {.context = given,
                            .columns = columns,
                            .chain_rule = flags.chain,
                            .precision = flags.float64 ? Precision::kFloat64 : Precision::kFloat32});
  };
  const TextReport::Ask ask_all = [&](uint64_t row) {
    return ask(rows.Slice(row, 1), context.rows() > 1 ? context.Slice(row, 1) : context, AllPlaces(*model));
  };
  std::unique_ptr<Report> report;
  if (flags.output.path == "-" && flags.output.format.empty()) {
    report = std::make_unique<TextReport>(session, *model, *places, flags.top, ask_all);
  } else {
    report = std::make_unique<TableReport>(session, flags.output, *places);
  }
  uint64_t explained = 0;
  ModelRows block;
  while (true) {
    const absl::StatusOr<bool> more = reader->Next(block);
    if (!more.ok()) return more.status();
    if (!*more) return report->Finish();
    for (size_t begin = 0; begin < block.rows_view().rows(); begin += kRowsPerCall) {
      const size_t count = std::min(kRowsPerCall, block.rows_view().rows() - begin);
      rows = block.rows_view().Slice(begin, count);
      context = block.context_view();
      if (context.rows() > 1) context = context.Slice(begin, count);
      const absl::StatusOr<Explanation<double>> answer = ask(rows, context, *places);
      if (!answer.ok()) return answer.status();
      if (explained == 0 && !answer->no_chain_rule_because.empty()) {
        session.streams.err << "no terms of the chain rule: " << answer->no_chain_rule_because << "\n";
      }
      if (absl::Status status = report->Add(explained, rows, *answer); !status.ok()) return status;
      explained += count;
    }
  }
}

void DefineExplain(CLI::App& command, ExplainFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
  AddRowsFlags(command, flags.rows);
  AddOutputFlags(command, flags.output);
  command.add_option("--only", flags.only, "Explain these columns of the model only")->delimiter(',');
  command.add_option("--top", flags.top, "Columns to show of each row, the most unusual first; 0: all")
      ->capture_default_str();
  command.add_flag(
      "--chain", flags.chain,
      "Also split -log p by the chain rule, each column given those before it, where the model has an order");
  command.add_flag("--float64", flags.float64, "Compute in float64; many times slower");
}

}  // namespace

void AddExplainCommand(CLI::App& app, Session& session) {
  AddCommand<ExplainFlags>(
      app, session, "explain", "Say which columns make rows unusual, and what was expected there given the others",
      "  densityctl explain power outliers.csv\n"
      "  densityctl explain power@stable day.csv --only voltage,current --top 1\n"
      "  densityctl explain power outliers.csv --chain --top 0\n"
      "  densityctl explain power outliers.csv -o explained.csv    (one line per row and column, numbered from 0)",
      DefineExplain, RunExplain);
}

}  // namespace densityd::ctl
