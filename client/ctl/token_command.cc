// token: bearer tokens for servers with --auth-file. Speaks to no server.
#include <cstdint>
#include <optional>
#include <string>

#include "client/ctl/commands.h"
#include "server/base/token.h"

namespace densityd::ctl {
namespace {

struct CreateFlags {
  std::string name;
  std::string rights = "infer";
  std::string models = "*";
  std::string expires;
  std::optional<uint64_t> max_rows_per_second;
  std::optional<uint64_t> max_calls;
};

/// A value of the file of grants: what would end the word, or begin a comment, is no part of it.
CLI::Validator OneWord() {
  return CLI::Validator(
      [](const std::string& value) {
        return value.find_first_of(" \t\r\n#") == std::string::npos ? std::string() : value + " has blanks or #";
      },
      "");
}

absl::Status RunCreate(Session& session, const CreateFlags& flags) {
  const std::string token = NewToken();
  session.streams.err << "This line for the server's --auth-file says who has the token, without giving it away:\n"
                      << "name=" << flags.name << " token=" << TokenId(token) << ":" << TokenDigest(token)
                      << " rights=" << flags.rights << " models=" << flags.models;
  if (!flags.expires.empty()) session.streams.err << " expires=" << flags.expires;
  if (flags.max_rows_per_second.has_value()) {
    session.streams.err << " max_rows_per_second=" << *flags.max_rows_per_second;
  }
  if (flags.max_calls.has_value()) session.streams.err << " max_calls=" << *flags.max_calls;
  session.streams.err << "\nThe token, for its owner alone, is on the standard output.\n";
  session.streams.out << token << "\n";
  return absl::OkStatus();
}

void DefineCreate(CLI::App& command, CreateFlags& flags) {
  command.add_option("name", flags.name, "Who will have the token, for logs and messages")
      ->required()
      ->check(OneWord());
  command.add_option("--rights", flags.rights, "Comma-separated: infer, train, admin, metrics")
      ->check(OneWord())
      ->capture_default_str();
  command.add_option("--models", flags.models, "Comma-separated names of models; * stands for any characters")
      ->check(OneWord())
      ->capture_default_str();
  command.add_option("--expires", flags.expires, "First day (UTC) on which it no longer holds, such as 2027-01-31")
      ->check(OneWord());
  command.add_option("--max-rows-per-second", flags.max_rows_per_second,
                     "Rows that who has it may ask for per second; 0: no limit; unset: as the server's flag says");
  command.add_option("--max-calls", flags.max_calls, "Calls that who has it may have in flight; likewise");
}

}  // namespace

void AddTokenCommand(CLI::App& app, Session& session) {
  CLI::App* token = app.add_subcommand("token", "Make tokens for servers with --auth-file");
  token->require_subcommand(1);
  token->fallthrough();
  token->footer("Examples:\n  densityctl token create ci > ci.token");
  AddCommand<CreateFlags>(
      *token, session, "create", "Print a new token, and its line for the server's file on the standard error",
      "  (umask 077; densityctl token create ci > ci.token 2> ci.line)\n"
      "  densityctl token create trainer --rights infer,train --models 'power*,gas' --expires 2027-01-31",
      DefineCreate, RunCreate);
}

}  // namespace densityd::ctl
