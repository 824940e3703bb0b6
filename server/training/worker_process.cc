#include "server/training/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/machine_memory.h"

extern char** environ;

namespace densityd::training {
namespace {

// posix_spawn's attributes and file actions, destroyed with the object.
class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_init(&actions_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  // Own process group, default signal handling, output to `log_file`, no descriptor of ours.
  int Fill(const std::string& log_file) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int error =
        posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (error == 0) error = posix_spawnattr_setpgroup(&attributes_, 0);
    if (error == 0) error = posix_spawnattr_setsigmask(&attributes_, &none);
    if (error == 0) error = posix_spawnattr_setsigdefault(&attributes_, &all);
    if (error == 0) error = posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0) {
      error = posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, log_file.c_str(),
                                               O_WRONLY | O_CREAT | O_APPEND, 0640);
    }
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
    if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    return error;
  }

  const posix_spawnattr_t* attributes() const { return &attributes_; }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

// Our environment, with the worker's variables in place of ours.
std::vector<std::string> WorkerEnvironment(uint32_t threads) {
  // Of several ranks the server's is the first.
  const std::vector<std::string> own = {absl::StrCat("OMP_NUM_THREADS=", threads),
                                        absl::StrCat("MKL_NUM_THREADS=", threads), "RANK=0"};
  std::vector<std::string> variables = own;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    bool replaced = false;
    for (const std::string& ours : own) {
      replaced = replaced || variable.substr(0, variable.find('=') + 1) == ours.substr(0, ours.find('=') + 1);
    }
    if (!replaced) variables.emplace_back(variable);
  }
  return variables;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::string DescribeExit(const WorkerExit& exit) {
  if (!exit.known) return "ended without a word (why is not known: an earlier server had started it)";
  if (exit.signal == 0) return absl::StrCat("ended with exit code ", exit.exit_code);
  const char* name = sigabbrev_np(exit.signal);
  std::string text = absl::StrCat("was killed by signal ", exit.signal);
  if (name != nullptr) text = absl::StrCat("was killed by SIG", name, " (", strsignal(exit.signal), ")");
  if (exit.signal == SIGKILL) {
    absl::StrAppend(
        &text, " when it held up to ", exit.max_rss_bytes >> 20,
        " MiB of memory; if nobody killed it, memory ran out: give the server more, or train on fewer rows, "
        "a smaller batch or a smaller flow");
  }
  return text;
}

absl::StatusOr<WorkerProcess> WorkerProcess::Start(const std::string& binary, const std::string& folder,
                                                   const std::string& log_file, uint32_t threads) {
  SpawnSettings settings;
  std::vector<std::string> arguments = {binary, "train-worker", folder};
  std::vector<std::string> variables = WorkerEnvironment(threads);
  pid_t pid = 0;
  int error = settings.Fill(log_file);
  if (error == 0) {
    error = posix_spawn(&pid, binary.c_str(), settings.actions(), settings.attributes(), Pointers(arguments).data(),
                        Pointers(variables).data());
  }
  if (error != 0) {
    return FailedPrecondition(
        "worker", binary,
        absl::StrCat("the training process could not be started from ", binary, ": ", std::strerror(error)));
  }
  WorkerProcess process(pid, FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))), /*is_child=*/true);
  if (!process.ended_.valid()) {
    return FailedPrecondition(
        "worker", binary, absl::StrCat("the training process cannot be followed (pidfd_open): ", std::strerror(errno)));
  }
  return process;
}

WorkerProcess WorkerProcess::Adopt(LiveWorker worker) {
  return WorkerProcess(worker.pid, std::move(worker.ended), /*is_child=*/false);
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), ended_(std::move(other.ended_)), is_child_(other.is_child_) {}

WorkerProcess::~WorkerProcess() {
  if (pid_ <= 0) return;
  Signal(SIGKILL);
  Wait();
}

uint64_t WorkerProcess::ResidentBytes() const {
  const uint64_t bytes = ProcessMemory(pid_);
  // After the read: a process that lived then has not been replaced by another one.
  return HasEnded() ? 0 : bytes;
}

void WorkerProcess::Signal(int signal) const {
  // The id of an adopted process that has ended may be another's by now.
  if (is_child_ || !HasEnded()) kill(-pid_, signal);
}

WorkerExit WorkerProcess::Wait() {
  WorkerExit exit;
  if (!is_child_) {
    pollfd wait = {ended_.get(), POLLIN, 0};
    RetryInterrupted([&] { return poll(&wait, 1, /*milliseconds=*/-1); });
    pid_ = -1;
    exit.known = false;
    return exit;
  }
  // Until it is reaped its id names its group and nothing else, so that what it started can be killed first.
  siginfo_t info;
  RetryInterrupted([&] { return waitid(P_PID, pid_, &info, WEXITED | WNOWAIT); });
  Signal(SIGKILL);
  int status = 0;
  rusage usage = {};
  RetryInterrupted([&] { return wait4(pid_, &status, 0, &usage); });
  pid_ = -1;
  if (WIFSIGNALED(status)) exit.signal = WTERMSIG(status);
  if (WIFEXITED(status)) exit.exit_code = WEXITSTATUS(status);
  exit.max_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return exit;
}

bool WorkerProcess::HasEnded() const {
  pollfd wait = {ended_.get(), POLLIN, 0};
  return RetryInterrupted([&] { return poll(&wait, 1, /*milliseconds=*/0); }) == 1;
}

}  // namespace densityd::training
