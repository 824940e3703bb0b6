// alias: names that move from version to version.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/messages.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {
namespace {

struct AliasFlags {
  std::string model;
  std::string alias;
  uint64_t version = 0;
  std::optional<uint64_t> expected_revision;
  bool json = false;
};

absl::Status Print(Session& session, const AliasFlags& flags, const absl::StatusOr<density::v1::Aliases>& aliases) {
  if (!aliases.ok()) return aliases.status();
  if (flags.json) return PrintJson(session.streams.out, *aliases);
  session.streams.out << aliases->name() << ", revision " << aliases->revision() << "\n";
  std::vector<std::vector<std::string>> rows;
  for (const auto& [alias, version] : aliases->versions()) {
    rows.push_back({absl::StrCat(aliases->name(), "@", alias), absl::StrCat(version)});
  }
  std::sort(rows.begin(), rows.end());
  PrintTable(session.streams.out, {"ALIAS", "VERSION"}, rows);
  return absl::OkStatus();
}

absl::Status RunSet(Session& session, const AliasFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  return Print(session, flags, client->SetAlias(flags.model, flags.alias, flags.version, flags.expected_revision));
}

absl::Status RunDelete(Session& session, const AliasFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  return Print(session, flags, client->DeleteAlias(flags.model, flags.alias, flags.expected_revision));
}

void DefineDelete(CLI::App& command, AliasFlags& flags) {
  command.add_option("model", flags.model, "Name of the model")->required();
  command.add_option("alias", flags.alias, "Name of the alias")->required();
  command.add_option("--expected-revision", flags.expected_revision,
                     "Only if the model's aliases are still at this revision");
  command.add_flag("--json", flags.json, "Print the model's aliases as JSON");
}

void DefineSet(CLI::App& command, AliasFlags& flags) {
  DefineDelete(command, flags);
  command.add_option("version", flags.version, "Version number that the alias names from now on")->required();
}

}  // namespace

void AddAliasCommands(CLI::App& app, Session& session) {
  CLI::App* alias = app.add_subcommand("alias", "Set and delete aliases of a model's versions");
  alias->require_subcommand(1);
  alias->fallthrough();
  alias->footer("Examples:\n  densityctl alias set power stable 3\n  densityctl alias delete power candidate");
  AddCommand<AliasFlags>(*alias, session, "set", "Point an alias at a version",
                         "  densityctl alias set power stable 3\n"
                         "  densityctl alias set power stable 3 --expected-revision 7",
                         DefineSet, RunSet);
  AddCommand<AliasFlags>(*alias, session, "delete", "Remove an alias", "  densityctl alias delete power candidate",
                         DefineDelete, RunDelete);
}

}  // namespace densityd::ctl
