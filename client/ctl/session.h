// What every command of densityctl works with: the streams, the connection and the outcome.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "densityd/client.h"

namespace densityd::ctl {

/// Where a command reads and writes. Answers go to `out`; progress and errors to `err`.
struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  int err_columns = 0;  ///< width of the terminal that `err` is; 0: no terminal
};

/// Flags that say which server and how, shared by all commands.
struct ConnectionFlags {
  std::string server = "127.0.0.1:50051";
  double timeout = 60;   ///< seconds
  double retry_for = 2;  ///< seconds
  size_t max_message_bytes = size_t{64} << 20;
  bool tls = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;
  std::string token_file;
  bool insecure_token = false;
  std::string priority = "interactive";
};

/// One run of densityctl. Not thread-safe.
struct Session {
  Streams streams;
  ConnectionFlags connection = {};
  /// What the command that was parsed does; set by its callback.
  std::function<absl::Status()> command = nullptr;

  /// INVALID_ARGUMENT or NOT_FOUND for bad flags and certificate files that cannot be read.
  absl::StatusOr<Client> Connect() const;

 private:
  /// The token of --token-file, else of the environment variable DENSITYD_TOKEN, else none.
  absl::StatusOr<std::string> ReadToken() const;
};

/// Adds a command whose flags live in a `Flags`: `define(command, flags)` declares them, and `run(session, flags)` does
/// the work, unless a command below it was given. `examples` ends the command's help.
template <typename Flags, typename Define>
CLI::App* AddCommand(CLI::App& parent, Session& session, const std::string& name, const std::string& description,
                     const std::string& examples, Define define, absl::Status (*run)(Session&, const Flags&)) {
  CLI::App* command = parent.add_subcommand(name, description);
  auto flags = std::make_shared<Flags>();
  define(*command, *flags);
  command->footer("Examples:\n" + examples);
  command->fallthrough();
  command->callback([&session, flags, run, command] {
    if (!command->get_subcommands().empty()) return;
    session.command = [&session, flags, run] { return run(session, *flags); };
  });
  return command;
}

}  // namespace densityd::ctl
