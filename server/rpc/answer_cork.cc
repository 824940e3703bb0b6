#include "server/rpc/answer_cork.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>

namespace densityd::rpc {
namespace {

/// Answers that leave together at most: the caller works on them while the next ones are made.
constexpr int kTogether = 8;
/// Sockets that a worker remembers.
constexpr size_t kMaxKnown = 1024;

thread_local AnswerCork* current = nullptr;

void SetCork(int socket, int on) { setsockopt(socket, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)); }

}  // namespace

AnswerCork::Turn::Turn(AnswerCork& cork) : cork_(&cork) { current = cork_; }

AnswerCork::Turn::~Turn() {
  current = nullptr;
  cork_->Open();
}

void AnswerCork::BeforeAnswer(uint64_t connection) {
  if (current != nullptr) current->Count(connection);
}

void AnswerCork::Count(uint64_t connection) {
  auto answers = std::find_if(answers_.begin(), answers_.end(),
                              [&](const Answers& entry) { return entry.connection == connection; });
  if (answers == answers_.end()) {
    answers_.push_back({connection});
    return;
  }
  if (answers->count++ % kTogether != 0) return;
  if (answers->corked >= 0) {
    SetCork(answers->corked, 0);
  } else if (answers->count == 1) {
    answers->corked = SocketOf(connection);
  }
  if (answers->corked >= 0) SetCork(answers->corked, 1);
}

void AnswerCork::Open() {
  for (const Answers& answers : answers_) {
    if (answers.corked >= 0) SetCork(answers.corked, 0);
  }
  answers_.clear();
}

int AnswerCork::SocketOf(uint64_t connection) {
  const auto known = known_.find(connection);
  if (known != known_.end() && known->second.IsOpen()) return known->second.fd;
  const ConnectionTable::Socket socket = connections_->Find(connection);
  if (!socket.IsOpen()) return -1;
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[connection] = socket;
  return socket.fd;
}

}  // namespace densityd::rpc
