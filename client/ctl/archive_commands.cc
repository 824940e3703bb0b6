// export, import: versions as files.
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/files.h"
#include "client/ctl/messages.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {
namespace {

struct ExportFlags {
  std::string model;
  std::string file;
};

struct ImportFlags {
  std::string file;
  std::string name;
  bool json = false;
};

absl::Status ExportTo(const Client& client, const std::string& model, std::ostream& out, const std::string& path,
                      uint64_t& bytes) {
  return client.Export(model, [&](std::string_view piece) {
    out.write(piece.data(), static_cast<std::streamsize>(piece.size()));
    bytes += piece.size();
    return out.good() ? absl::OkStatus() : absl::UnknownError(absl::StrCat(path, ": could not be written"));
  });
}

absl::Status RunExport(Session& session, const ExportFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  uint64_t bytes = 0;
  if (flags.file == "-") return ExportTo(*client, flags.model, session.streams.out, flags.file, bytes);
  // Under its own name the file is whole.
  const std::string part = flags.file + ".part";
  absl::Status status;
  {
    std::ofstream out(part, std::ios::binary | std::ios::trunc);
    if (!out) return absl::UnknownError(absl::StrCat(part, ": could not be written"));
    status = ExportTo(*client, flags.model, out, part, bytes);
    out.close();
    if (status.ok() && !out) status = absl::UnknownError(absl::StrCat(part, ": could not be written"));
  }
  if (status.ok() && std::rename(part.c_str(), flags.file.c_str()) != 0) {
    status = absl::UnknownError(absl::StrCat(flags.file, ": could not be written"));
  }
  if (!status.ok()) {
    std::remove(part.c_str());
    return status;
  }
  session.streams.err << flags.file << ": " << flags.model << ", " << FormatBytes(bytes) << "\n";
  return absl::OkStatus();
}

absl::Status RunImport(Session& session, const ImportFlags& flags) {
  absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  std::ifstream file;
  std::istream* in = &session.streams.in;
  if (flags.file != "-") {
    file.open(flags.file, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrCat(flags.file, ": could not be opened"));
    in = &file;
  }
  constexpr size_t kPieceBytes = size_t{1} << 20;
  std::string piece;
  const absl::StatusOr<density::v1::VersionInfo> version =
      client->Import(flags.name, [&]() -> absl::StatusOr<std::string_view> {
        piece.resize(kPieceBytes);
        in->read(piece.data(), static_cast<std::streamsize>(piece.size()));
        if (in->bad()) return absl::UnknownError(absl::StrCat(flags.file, ": could not be read"));
        piece.resize(static_cast<size_t>(in->gcount()));
        return std::string_view(piece);
      });
  if (!version.ok()) return version.status();
  if (flags.json) return PrintJson(session.streams.out, *version);
  session.streams.out << version->name() << "@" << version->version() << " "
                      << density::v1::VersionState_Name(version->state()) << "\n";
  return absl::OkStatus();
}

void DefineExport(CLI::App& command, ExportFlags& flags) {
  command.add_option("model", flags.model, "Model: name, name@3 (a version) or name@stable (an alias)")->required();
  command.add_option("file", flags.file, "File for the archive, a tar; - for the standard output")->required();
}

void DefineImport(CLI::App& command, ImportFlags& flags) {
  command.add_option("file", flags.file, "Archive of `export`; - for the standard input")->required();
  command.add_option("--as", flags.name, "Name of the model; default: the name in the archive");
  command.add_flag("--json", flags.json, "Print the version as JSON");
}

}  // namespace

void AddArchiveCommands(CLI::App& app, Session& session) {
  AddCommand<ExportFlags>(app, session, "export", "Write one version into a file, verified",
                          "  densityctl export power@3 power-3.tar\n"
                          "  densityctl export power - | densityctl --server other:50051 import -",
                          DefineExport, RunExport);
  AddCommand<ImportFlags>(app, session, "import", "Publish the version in a file under the next free number",
                          "  densityctl import power-3.tar\n  densityctl import power-3.tar --as power-candidate",
                          DefineImport, RunImport);
}

}  // namespace densityd::ctl
