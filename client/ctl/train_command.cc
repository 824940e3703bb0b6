// train: start a training and follow it.
#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/messages.h"
#include "client/ctl/progress.h"
#include "client/ctl/train_request.h"
#include "client/ctl/upload.h"

namespace densityd::ctl {
namespace {

absl::Status Run(Session& session, const TrainFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  absl::StatusOr<density::v1::TrainRequest> request = MakeTrainRequest(flags, session);
  if (!request.ok()) return request.status();
  if (!flags.data_file.empty()) {
    const absl::StatusOr<density::v1::Dataset> dataset =
        UploadFile(session, *client, flags.data_file, "", flags.column_names, MissingColumns(*request));
    if (!dataset.ok()) return dataset.status();
    request->set_dataset(dataset->id());
    session.streams.err << "uploaded " << dataset->rows() << " rows as dataset " << dataset->id() << "\n";
  }
  const absl::StatusOr<density::v1::Training> training = client->Train(*request);
  if (!training.ok()) return training.status();
  if (!flags.watch) {
    if (flags.json) return PrintJson(session.streams.out, *training);
    session.streams.out << training->id() << "\n";
    return absl::OkStatus();
  }
  session.streams.err << "training " << training->id() << " goes on if you stop watching; `densityctl watch "
                      << training->id() << "` comes back to it\n";
  return WatchToTheEnd(session, *client, training->id(), flags.json);
}

}  // namespace

void AddTrainCommand(CLI::App& app, Session& session) {
  AddCommand<TrainFlags>(
      app, session, "train", "Train a flow on data; it becomes a new version of the model",
      "  densityctl train power --preset maf --data power.csv\n"
      "  densityctl train power --preset realnvp --transforms 8 --hidden 128,128 --dataset d-1 --steps 5000 --detach\n"
      "  densityctl train weather --preset maf --data days.csv --context-columns month,station --alias candidate\n"
      "  densityctl train homes --preset nsf_ar --data homes.csv --preprocess automatic\n"
      "  densityctl train homes --preset maf --data homes.csv --preprocess rooms=integer,log --preprocess "
      "share=logit,0..100\n"
      "  densityctl train claims --preset maf --data claims.csv --preset-options '{\"base\": {\"studentT\": {}}}'\n"
      "  densityctl train digits --preset glow --image 1x28x28 --hidden 64 --batch-size 64 --data digits.npy\n"
      "  densityctl train custom --spec flow.json --server-file tables/rows.npy\n"
      "  densityctl train power --warm-start power@stable --data new.csv --steps 500 --priority 10",
      DefineTrainFlags, Run);
}

}  // namespace densityd::ctl
