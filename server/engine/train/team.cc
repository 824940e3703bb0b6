#include "server/engine/train/team.h"

namespace densityd::engine::train {

Team::Team(size_t members) {
  for (size_t member = 1; member < members; ++member) threads_.emplace_back([this, member] { Serve(member); });
}

Team::~Team() {
  is_ending_ = true;
  ++round_;
  round_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::Run(size_t count, Task task) {
  task_ = &task;
  count_ = count;
  next_ = 0;
  finished_ = 0;
  if (count > 1 && !threads_.empty()) {
    ++round_;
    round_.notify_all();
    Work(0);
    for (uint32_t seen = finished_; seen < threads_.size(); seen = finished_) finished_.wait(seen);
  } else {
    Work(0);
  }
}

void Team::Work(size_t member) {
  for (size_t item = next_++; item < count_; item = next_++) (*task_)(item, member);
}

void Team::Serve(size_t member) {
  for (uint32_t seen = 0;;) {
    round_.wait(seen);
    ++seen;  // each round is waited for by all before the next one begins
    if (is_ending_) return;
    Work(member);
    ++finished_;
    finished_.notify_one();
  }
}

}  // namespace densityd::engine::train
