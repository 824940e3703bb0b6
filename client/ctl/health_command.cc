// health: whether the server, or one model in it, is serving.
#include <string>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"

namespace densityd::ctl {
namespace {

struct HealthFlags {
  std::string model;
};

void Define(CLI::App& command, HealthFlags& flags) {
  command.add_option("model", flags.model, "A model's health service name, for example power. Default: the server");
}

absl::Status Run(Session& session, const HealthFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<Health> health = client->CheckHealth(flags.model);
  if (!health.ok()) return health.status();
  session.streams.out << (*health == Health::kServing ? "SERVING\n" : "NOT_SERVING\n");
  if (*health == Health::kServing) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(flags.model.empty() ? "the server" : flags.model, " is not serving"));
}

}  // namespace

void AddHealthCommand(CLI::App& app, Session& session) {
  AddCommand<HealthFlags>(app, session, "health", "Whether the server or a model is serving (exit code 0 or 5)",
                          "  densityctl health\n  densityctl health power --timeout 1", Define, Run);
}

}  // namespace densityd::ctl
