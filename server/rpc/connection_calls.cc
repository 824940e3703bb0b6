#include "server/rpc/connection_calls.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "grpc/grpc.h"
#include "grpc/support/alloc.h"

namespace densityd::rpc {
namespace {

using Json = nlohmann::json;

/// What channelz answers; null where what was asked about has gone.
Json Parse(char* text) {
  const std::unique_ptr<char, decltype(&gpr_free)> owner(text, &gpr_free);
  return text == nullptr ? Json() : Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

/// 64-bit numbers are texts in JSON, and those that are 0 are left out.
int64_t Number(const Json& object, const char* name) {
  const auto found = object.find(name);
  int64_t number = 0;
  if (found == object.end() || !found->is_string() || !absl::SimpleAtoi(found->get<std::string>(), &number)) return 0;
  return number;
}

void AddSocket(int64_t id, std::vector<ConnectionCalls>& connections) {
  const Json answer = Parse(grpc_channelz_get_socket(id));
  if (!answer.is_object() || !answer.contains("socket")) return;
  const Json& socket = answer["socket"];
  const Json& data = socket.value("data", Json::object());
  ConnectionCalls& connection = connections.emplace_back();
  // "chttp2 ipv4:10.0.0.7:4711"
  connection.peer = socket.value("/ref/name"_json_pointer, std::string());
  connection.peer.erase(0, connection.peer.find(' ') + 1);
  connection.calls = Number(data, "streamsStarted") - Number(data, "streamsSucceeded") - Number(data, "streamsFailed");
}

void AddServer(int64_t id, std::vector<ConnectionCalls>& connections) {
  int64_t next = 0;
  while (true) {
    const Json page = Parse(grpc_channelz_get_server_sockets(id, next, /*max_results=*/0));
    if (!page.is_object() || !page.contains("socketRef")) return;
    for (const Json& socket : page["socketRef"]) {
      next = Number(socket, "socketId") + 1;
      AddSocket(next - 1, connections);
    }
    if (page.value("end", false)) return;
  }
}

}  // namespace

std::vector<ConnectionCalls> CallsOfConnections() {
  std::vector<ConnectionCalls> connections;
  int64_t next = 0;
  while (true) {
    const Json page = Parse(grpc_channelz_get_servers(next));
    if (!page.is_object() || !page.contains("server")) return connections;
    for (const Json& server : page["server"]) {
      next = Number(server["ref"], "serverId") + 1;
      AddServer(next - 1, connections);
    }
    if (page.value("end", false)) return connections;
  }
}

}  // namespace densityd::rpc
