// models, load, unload, delete, reload: the versions that the server keeps.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ctl/commands.h"
#include "client/ctl/messages.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {
namespace {

namespace v1 = density::v1;

struct ListFlags {
  bool json = false;
};

struct ModelFlags {
  std::string model;
  bool json = false;
};

/// The aliases that point at a version, "latest,stable".
std::string AliasesOf(const v1::ModelInfo& model, uint64_t version) {
  std::vector<std::string> aliases;
  for (const auto& [alias, target] : model.aliases().versions()) {
    if (target == version) aliases.push_back(alias);
  }
  std::sort(aliases.begin(), aliases.end());
  return absl::StrJoin(aliases, ",");
}

absl::Status RunList(Session& session, const ListFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::vector<v1::ModelInfo>> models = client->ListModels();
  if (!models.ok()) return models.status();
  if (flags.json) return PrintJsonArray(session.streams.out, *models);
  std::vector<std::vector<std::string>> rows;
  for (const v1::ModelInfo& model : *models) {
    for (const v1::VersionInfo& version : model.versions()) {
      const std::string problem = version.error().empty() ? version.plan() : version.error();
      rows.push_back({absl::StrCat(model.name(), "@", version.version()), AliasesOf(model, version.version()),
                      v1::VersionState_Name(version.state()), absl::StrCat(version.features()),
                      absl::StrCat(version.context_features()), FormatBytes(version.stored_bytes()),
                      FormatTime(version.create_time()), problem});
    }
  }
  PrintTable(session.streams.out, {"MODEL", "ALIASES", "STATE", "COLUMNS", "CONTEXT", "SIZE", "CREATED", "PLAN"}, rows);
  return absl::OkStatus();
}

absl::Status RunShow(Session& session, const ModelFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::ModelDetail> detail = client->GetModel(flags.model);
  if (!detail.ok()) return detail.status();
  return PrintJson(session.streams.out, *detail);
}

/// Load and Unload.
absl::Status Move(Session& session, const ModelFlags& flags, bool load) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::VersionInfo> version = load ? client->Load(flags.model) : client->Unload(flags.model);
  if (!version.ok()) return version.status();
  if (flags.json) return PrintJson(session.streams.out, *version);
  session.streams.out << version->name() << "@" << version->version() << " " << v1::VersionState_Name(version->state());
  if (load) session.streams.out << " (" << version->plan() << ", " << FormatBytes(version->memory_bytes()) << ")";
  session.streams.out << "\n";
  return absl::OkStatus();
}

absl::Status RunLoad(Session& session, const ModelFlags& flags) { return Move(session, flags, /*load=*/true); }
absl::Status RunUnload(Session& session, const ModelFlags& flags) { return Move(session, flags, /*load=*/false); }

absl::Status RunDelete(Session& session, const ModelFlags& flags) {
  const size_t at = flags.model.rfind('@');
  uint64_t version = 0;
  if (at == std::string::npos || !absl::SimpleAtoi(flags.model.substr(at + 1), &version)) {
    return absl::InvalidArgumentError("give the version to delete as name@3; a deletion never goes through an alias");
  }
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  return client->DeleteVersion(flags.model.substr(0, at), version);
}

struct ReloadFlags {
  std::string model;
  bool json = false;
};

absl::Status RunReload(Session& session, const ReloadFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::ReloadFromDiskResponse> changes = client->ReloadFromDisk(flags.model);
  if (!changes.ok()) return changes.status();
  if (flags.json) return PrintJson(session.streams.out, *changes);
  for (const std::string& version : changes->added()) session.streams.out << "added " << version << "\n";
  for (const std::string& version : changes->removed()) session.streams.out << "removed " << version << "\n";
  for (const std::string& alias : changes->moved()) session.streams.out << "moved " << alias << "\n";
  for (const v1::ReloadFailure& failure : changes->failed()) {
    session.streams.out << "failed " << failure.model() << ": " << failure.error() << "\n";
  }
  return absl::OkStatus();
}

void DefineReload(CLI::App& command, ReloadFlags& flags) {
  command.add_option("model", flags.model, "Name of the model; default: all");
  command.add_flag("--json", flags.json, "Print the changes as JSON");
}

void DefineList(CLI::App& command, ListFlags& flags) {
  command.add_flag("--json", flags.json, "Print the models as JSON");
}

void DefineModel(CLI::App& command, ModelFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
}

void DefineMove(CLI::App& command, ModelFlags& flags) {
  DefineModel(command, flags);
  command.add_flag("--json", flags.json, "Print the version as JSON");
}

}  // namespace

void AddModelCommands(CLI::App& app, Session& session) {
  CLI::App* models = AddCommand<ListFlags>(
      app, session, "models", "List models with their versions and aliases; show one",
      "  densityctl models\n  densityctl models --json\n  densityctl models show power@stable", DefineList, RunList);
  AddCommand<ModelFlags>(*models, session, "show", "Show one version in full, as JSON",
                         "  densityctl models show power@stable", DefineModel, RunShow);
  AddCommand<ModelFlags>(app, session, "load", "Bring a version into memory; returns when it answers requests",
                         "  densityctl load power@3", DefineMove, RunLoad);
  AddCommand<ModelFlags>(app, session, "unload", "Take a version out of memory; calls in flight finish",
                         "  densityctl unload power@2", DefineMove, RunUnload);
  AddCommand<ReloadFlags>(app, session, "reload",
                          "Take up versions and aliases that others changed in the server's folder",
                          "  densityctl reload\n  densityctl reload power", DefineReload, RunReload);
  AddCommand<ModelFlags>(app, session, "delete", "Delete one version from disk",
                         "  densityctl delete power@2\n  densityctl unload power@2 && densityctl delete power@2",
                         DefineModel, RunDelete);
}

}  // namespace densityd::ctl
