// upload, datasets: data for trainings.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ctl/commands.h"
#include "client/ctl/messages.h"
#include "client/ctl/text_table.h"
#include "client/ctl/upload.h"

namespace densityd::ctl {
namespace {

namespace v1 = density::v1;

struct UploadFlags {
  std::string path;
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::string> missing;
  bool json = false;
};

struct DatasetFlags {
  std::string id;
};

struct ListFlags {
  bool json = false;
};

void DefineUpload(CLI::App& command, UploadFlags& flags) {
  command.add_option("file", flags.path, "CSV, NPY or JSON file; - is the standard input")->required();
  command.add_option("--name", flags.name, "Name for people. Default: the file's");
  command.add_option("--names", flags.columns, "Names of the columns, in order. Default: the file's header")
      ->delimiter(',');
  command
      .add_option("--missing", flags.missing,
                  "Columns in which nan says that a number is missing: context that a training takes so")
      ->delimiter(',');
  command.add_flag("--json", flags.json, "Print the dataset as JSON");
}

absl::Status RunUpload(Session& session, const UploadFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Dataset> dataset =
      UploadFile(session, *client, flags.path, flags.name, flags.columns, flags.missing);
  if (!dataset.ok()) return dataset.status();
  if (flags.json) return PrintJson(session.streams.out, *dataset);
  session.streams.out << dataset->id() << "\n";
  return absl::OkStatus();
}

absl::Status RunList(Session& session, const ListFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::vector<v1::Dataset>> datasets = client->ListDatasets();
  if (!datasets.ok()) return datasets.status();
  if (flags.json) return PrintJsonArray(session.streams.out, *datasets);
  std::vector<std::vector<std::string>> rows;
  for (const v1::Dataset& dataset : *datasets) {
    rows.push_back({dataset.id(), dataset.display_name(), absl::StrCat(dataset.rows()),
                    absl::StrJoin(dataset.columns(), ","), FormatBytes(dataset.bytes()),
                    FormatTime(dataset.create_time())});
  }
  PrintTable(session.streams.out, {"DATASET", "NAME", "ROWS", "COLUMNS", "SIZE", "CREATED"}, rows);
  return absl::OkStatus();
}

absl::Status RunShow(Session& session, const DatasetFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<v1::Dataset> dataset = client->GetDataset(flags.id);
  if (!dataset.ok()) return dataset.status();
  return PrintJson(session.streams.out, *dataset);
}

absl::Status RunDelete(Session& session, const DatasetFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  return client->DeleteDataset(flags.id);
}

void DefineDataset(CLI::App& command, DatasetFlags& flags) {
  command.add_option("dataset", flags.id, "Id of the dataset")->required();
}

void DefineList(CLI::App& command, ListFlags& flags) {
  command.add_flag("--json", flags.json, "Print the datasets as JSON");
}

}  // namespace

void AddDatasetCommands(CLI::App& app, Session& session) {
  AddCommand<UploadFlags>(
      app, session, "upload", "Upload data for trainings; prints the dataset's id",
      "  densityctl upload power.csv\n"
      "  zcat power.csv.gz | densityctl upload - --name power\n"
      "  densityctl upload weather.csv --missing humidity,station\n"
      "  densityctl train power --preset maf --dataset $(densityctl upload power.npy --names a,b,c)",
      DefineUpload, RunUpload);
  CLI::App* datasets = AddCommand<ListFlags>(
      app, session, "datasets", "List datasets, newest first; show or delete one",
      "  densityctl datasets\n  densityctl datasets show d-1\n  densityctl datasets delete d-1", DefineList, RunList);
  AddCommand<DatasetFlags>(*datasets, session, "show", "Show one dataset as JSON", "  densityctl datasets show d-1",
                           DefineDataset, RunShow);
  AddCommand<DatasetFlags>(*datasets, session, "delete", "Delete a dataset", "  densityctl datasets delete d-1",
                           DefineDataset, RunDelete);
}

}  // namespace densityd::ctl
