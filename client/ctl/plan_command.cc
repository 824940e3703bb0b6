// plan: how a loaded version computes.
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/commands.h"
#include "client/ctl/messages.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {
namespace {

namespace v1 = density::v1;

struct PlanFlags {
  std::string model;
  v1::RowOp op = v1::ROW_OP_LOG_PROB;
  bool float64 = false;
  bool steps = false;
  bool json = false;
};

const std::map<std::string, v1::RowOp>& Ops() {
  static const std::map<std::string, v1::RowOp> ops = {{"log_prob", v1::ROW_OP_LOG_PROB},
                                                       {"inverse", v1::ROW_OP_INVERSE},
                                                       {"forward", v1::ROW_OP_FORWARD},
                                                       {"sample", v1::ROW_OP_SAMPLE},
                                                       {"score", v1::ROW_OP_SCORE}};
  return ops;
}

std::string NameOf(v1::RowOp op) {
  for (const auto& [name, value] : Ops()) {
    if (value == op) return name;
  }
  return "?";
}

/// "53 %"; "-" where there is nothing to compare with.
std::string FormatShare(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  return absl::StrFormat("%.0f %%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string FormatWork(uint64_t multiply_adds) {
  return multiply_adds == 0 ? "-" : FormatCount(static_cast<double>(multiply_adds));
}

std::string FormatWeights(uint64_t bytes) { return bytes == 0 ? "-" : FormatBytes(bytes); }

void PrintLayers(std::ostream& out, const v1::PlanDetail& plan) {
  std::vector<std::vector<std::string>> rows;
  int number = 0;
  for (const v1::PlanLayer& layer : plan.layers()) {
    rows.push_back({absl::StrCat(++number), layer.kind(), layer.shape().empty() ? "-" : layer.shape(),
                    layer.steps_size() == 0 ? "-" : absl::StrCat(layer.steps_size()), absl::StrCat(layer.passes()),
                    FormatWork(layer.multiply_adds()), FormatShare(layer.multiply_adds(), layer.dense_multiply_adds()),
                    FormatWeights(layer.weight_bytes())});
  }
  rows.push_back({"", "all", "", "", "", FormatWork(plan.multiply_adds()),
                  FormatShare(plan.multiply_adds(), plan.dense_multiply_adds()), ""});
  PrintTable(out, {"#", "LAYER", "SHAPE", "STEPS", "PASSES", "MULTIPLY-ADDS", "OF DENSE", "WEIGHTS"}, rows);
}

void PrintSteps(std::ostream& out, const v1::PlanDetail& plan) {
  std::vector<std::vector<std::string>> rows;
  int number = 0;
  for (const v1::PlanLayer& layer : plan.layers()) {
    ++number;
    for (const v1::PlanStep& step : layer.steps()) {
      rows.push_back({absl::StrCat(number), layer.kind(), step.op(), absl::StrCat(step.inputs()),
                      absl::StrCat(step.outputs()), FormatWork(step.multiply_adds()),
                      FormatShare(step.multiply_adds(), step.dense_multiply_adds()),
                      FormatWeights(step.weight_bytes())});
    }
  }
  PrintTable(out, {"#", "LAYER", "STEP", "INPUTS", "OUTPUTS", "MULTIPLY-ADDS", "OF DENSE", "WEIGHTS"}, rows);
}

void PrintSummary(std::ostream& out, const v1::PlanDetail& plan) {
  out << plan.name() << "@" << plan.version() << " " << NameOf(plan.op()) << ": " << plan.kind() << ", "
      << (plan.precision() == v1::PRECISION_FLOAT64 ? "float64" : "float32") << ", " << plan.device();
  if (!plan.instructions().empty()) out << " with " << plan.instructions();
  out << "\n";
  if (!plan.not_compiled_because().empty()) out << "Not compiled: " << plan.not_compiled_because() << "\n";
  out << (plan.rows_are_independent()
              ? "Same row, same bits: an answer does not depend on the rows that it is computed with\n"
              : "The last digits of a row may depend on the rows that it is computed with\n");
  out << "Memory: " << FormatBytes(plan.bytes()) << ", and " << FormatBytes(plan.workspace_bytes())
      << " of scratch for each worker; runs of up to " << plan.tile_rows() << " rows\n";
}

/// "9.7 us per row in a run of 64"; what the largest run costs comes last.
void PrintTimes(std::ostream& out, const v1::PlanDetail& plan) {
  if (plan.times().empty()) return;
  std::vector<std::vector<std::string>> rows;
  for (const v1::PlanTime& time : plan.times()) {
    const double per_row = time.seconds() / static_cast<double>(time.rows());
    rows.push_back({absl::StrCat(time.rows()), absl::StrFormat("%.1f us", time.seconds() * 1e6),
                    absl::StrFormat("%.2f us", per_row * 1e6),
                    absl::StrFormat("%.2f", 2e-9 * static_cast<double>(plan.multiply_adds()) / per_row)});
  }
  out << "\n";
  PrintTable(out, {"ROWS", "TIME", "PER ROW", "GFLOP/S"}, rows);
  out << "As measured on one core or device when the version was loaded.\n";
}

absl::Status RunPlan(Session& session, const PlanFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::PlanDetail> plan =
      client->GetPlan(flags.model, flags.op, flags.float64 ? Precision::kFloat64 : Precision::kFloat32);
  if (!plan.ok()) return plan.status();
  std::ostream& out = session.streams.out;
  if (flags.json) return PrintJson(out, *plan);
  PrintSummary(out, *plan);
  out << "\n";
  if (flags.steps) {
    PrintSteps(out, *plan);
  } else {
    PrintLayers(out, *plan);
  }
  PrintTimes(out, *plan);
  return absl::OkStatus();
}

void DefinePlan(CLI::App& command, PlanFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
  command.add_option("--op", flags.op, "Operation: log_prob, inverse, forward, sample or score")
      ->transform(CLI::CheckedTransformer(Ops()).description(""))
      ->default_str("log_prob");
  command.add_flag("--float64", flags.float64, "The plan that computes in float64");
  command.add_flag("--steps", flags.steps, "List every step instead of layers");
  command.add_flag("--json", flags.json, "Print all of it as JSON");
}

}  // namespace

void AddPlanCommand(CLI::App& app, Session& session) {
  AddCommand<PlanFlags>(app, session, "plan",
                        "Show how a loaded version computes: layers, work after masks, memory, measured time",
                        "  densityctl plan power\n"
                        "  densityctl plan power@3 --op sample --steps\n"
                        "  densityctl plan power@stable --float64 --json",
                        DefinePlan, RunPlan);
}

}  // namespace densityd::ctl
