#include "client/ctl/ctl.h"

#include <algorithm>

#include "client/ctl/commands.h"
#include "client/ctl/exit_code.h"
#include "densityd/errors.h"

namespace densityd::ctl {
namespace {

void DefineConnection(CLI::App& app, ConnectionFlags& flags) {
  auto* group = app.add_option_group("Connection");
  group->add_option("--server", flags.server, "host:port of the server, or unix:PATH")
      ->envname("DENSITYD_SERVER")
      ->capture_default_str();
  group
      ->add_option("--timeout", flags.timeout,
                   "Seconds until a call is given up; watching and streams of rows have no limit")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  group->add_option("--retry-for", flags.retry_for, "Seconds to go on trying while the server cannot be reached")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  group
      ->add_option("--max-message-bytes", flags.max_message_bytes,
                   "Largest message; at most the server's --max-message-bytes. Larger tables are split")
      ->capture_default_str();
  group
      ->add_option("--priority", flags.priority,
                   "interactive, or batch: rows are computed when no interactive ones wait")
      ->check(CLI::IsMember({"interactive", "batch"}))
      ->capture_default_str();
  group->add_flag("--tls", flags.tls, "Encrypt, trusting the system's certificate authorities");
  group->add_option("--tls-ca", flags.tls_ca, "Encrypt, trusting the certificate authorities in this PEM file");
  group->add_option("--tls-cert", flags.tls_cert, "Client certificate, a PEM file (mutual TLS)");
  group->add_option("--tls-key", flags.tls_key, "Key of the client certificate, a PEM file");
  group
      ->add_option("--token-file", flags.token_file,
                   "File with the token that says who calls. Default: the token in DENSITYD_TOKEN, if it is set")
      ->envname("DENSITYD_TOKEN_FILE");
  group->add_flag("--insecure-token-over-plain-text", flags.insecure_token,
                  "Send the token to other machines without TLS, too");
  group->add_option("--tls-server-name", flags.tls_server_name, "Name in the server's certificate, if not the host");
}

/// CLI11 reads "-1" as the largest unsigned number; here it is an error.
void RefuseNegativeCounts(CLI::App& app) {
  for (CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    if (option->get_type_name() != "UINT") continue;
    option->check(CLI::Validator(
        [](const std::string& value) { return value.starts_with('-') ? value + " is negative" : std::string(); }, ""));
  }
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) RefuseNegativeCounts(*command);
}

/// What the caller can do about an error, where that is not in the message.
std::string Hint(const absl::Status& status, const ConnectionFlags& connection) {
  if (absl::IsUnavailable(status)) {
    return "Is densityd running at " + connection.server +
           "? Another address can be given with --server or in DENSITYD_SERVER.";
  }
  if (absl::IsUnauthenticated(status)) return "A token can be given with --token-file or in DENSITYD_TOKEN.";
  if (absl::IsDeadlineExceeded(status)) return "A longer time can be given with --timeout SECONDS.";
  return "";
}

}  // namespace

void DefineCommandLine(CLI::App& app, Session& session) {
  app.footer(std::string("Examples:\n"
                         "  densityctl train power --preset maf --data power.csv\n"
                         "  densityctl logprob power rows.csv --tail-probability\n"
                         "  densityctl sample power --rows 1000 --seed 7 > sample.csv\n"
                         "  densityctl COMMAND --help\n\n") +
             kExitCodeHelp);
  DefineConnection(app, session.connection);
  AddTrainCommand(app, session);
  AddTrainingCommands(app, session);
  AddRowCommands(app, session);
  AddExplainCommand(app, session);
  AddSampleCommand(app, session);
  AddModelCommands(app, session);
  AddPlanCommand(app, session);
  AddArchiveCommands(app, session);
  AddAliasCommands(app, session);
  AddDatasetCommands(app, session);
  AddHealthCommand(app, session);
  AddTokenCommand(app, session);
  RefuseNegativeCounts(app);
}

int Run(const std::vector<std::string>& arguments, const Streams& streams) {
  Session session = {.streams = streams};
  CLI::App app("densityctl: train, store and query normalizing flows on a densityd server", "densityctl");
  DefineCommandLine(app, session);
  try {
    // CLI11 takes them last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error, streams.out, streams.err) == 0 ? 0 : kUsageExitCode;
  }
  if (session.command == nullptr) {
    streams.err << "A command is required.\nRun with --help for more information.\n";
    return kUsageExitCode;
  }
  const absl::Status status = session.command();
  streams.out.flush();
  if (status.ok()) return 0;
  streams.err << "densityctl: " << ErrorText(status) << "\n";
  if (const std::string hint = Hint(status, session.connection); !hint.empty()) streams.err << hint << "\n";
  return ExitCode(status);
}

}  // namespace densityd::ctl
