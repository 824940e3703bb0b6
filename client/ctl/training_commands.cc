// watch, cancel, trainings: trainings that were started before.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/commands.h"
#include "client/ctl/messages.h"
#include "client/ctl/progress.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {
namespace {

namespace v1 = density::v1;

struct TrainingFlags {
  std::string id;
  bool json = false;
};

struct ListFlags {
  std::string model;
  bool json = false;
};

void DefineTraining(CLI::App& command, TrainingFlags& flags) {
  command.add_option("training", flags.id, "Id of the training")->required();
  command.add_flag("--json", flags.json, "Print the training as JSON");
}

absl::Status RunWatch(Session& session, const TrainingFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  return WatchToTheEnd(session, *client, flags.id, flags.json);
}

absl::Status RunCancel(Session& session, const TrainingFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Training> training = client->Cancel(flags.id);
  if (!training.ok()) return training.status();
  if (flags.json) return PrintJson(session.streams.out, *training);
  session.streams.out << "training " << training->id() << " ends CANCELLED and publishes nothing\n";
  return absl::OkStatus();
}

/// What a list says about where a training stands.
std::string Standing(const v1::Training& training) {
  switch (training.state()) {
    case v1::SUCCEEDED:
      return absl::StrFormat("%s@%d, held-out log-likelihood %.4f", training.model(), training.version(),
                             training.report().validation_log_likelihood());
    case v1::FAILED:
      return training.error();
    default:
      return (training.has_progress() ? DescribeProgress(training.progress()) : "") + DescribeRun(training);
  }
}

absl::Status RunList(Session& session, const ListFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::vector<v1::Training>> trainings = client->ListTrainings(flags.model);
  if (!trainings.ok()) return trainings.status();
  if (flags.json) return PrintJsonArray(session.streams.out, *trainings);
  std::vector<std::vector<std::string>> rows;
  for (const v1::Training& training : *trainings) {
    rows.push_back({training.id(), training.model(), v1::TrainingState_Name(training.state()),
                    FormatTime(training.create_time()), Standing(training)});
  }
  PrintTable(session.streams.out, {"TRAINING", "MODEL", "STATE", "CREATED", "STANDING"}, rows);
  return absl::OkStatus();
}

void DefineList(CLI::App& command, ListFlags& flags) {
  command.add_option("model", flags.model, "Only trainings of this model");
  command.add_flag("--json", flags.json, "Print the trainings as JSON");
}

}  // namespace

void AddTrainingCommands(CLI::App& app, Session& session) {
  AddCommand<TrainingFlags>(app, session, "watch", "Follow a training to its end",
                            "  densityctl watch t-1\n"
                            "  densityctl watch t-1 --json 2>/dev/null",
                            DefineTraining, RunWatch);
  AddCommand<TrainingFlags>(app, session, "cancel", "Stop a training; it publishes nothing", "  densityctl cancel t-1",
                            DefineTraining, RunCancel);
  AddCommand<ListFlags>(app, session, "trainings", "List trainings, newest first",
                        "  densityctl trainings\n"
                        "  densityctl trainings power --json",
                        DefineList, RunList);
}

}  // namespace densityd::ctl
