// Where the memory for a version comes from.
#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/registry/catalog.h"

namespace densityd::registry {
namespace {

/// Between looks whether requests have left memory: they tell nobody.
constexpr absl::Duration kLook = absl::Milliseconds(10);

}  // namespace

absl::Status Catalog::MakeRoom(const VersionKey& key, size_t bytes, Reservation& room) {
  absl::MutexLock lock(&mutex_);
  return Reserve(key, bytes, room);
}

absl::Status Catalog::MakeRoomFor(const VersionKey& key, const Servable& servable, Reservation& room) {
  absl::MutexLock lock(&mutex_);
  if (absl::Status status = Reserve(key, servable.memory_bytes(), room); !status.ok()) return status;
  return Reserve(key, std::max(servable.scratch_bytes(), scratch_.bytes()), scratch_);
}

absl::Status Catalog::Reserve(const VersionKey& key, size_t bytes, Reservation& room) {
  const absl::Time until = absl::Now() + patience_;
  while (!memory_.Reserve(bytes, room)) {
    const size_t more = bytes - room.bytes();
    const auto fits = [&](size_t freed) {
      return memory_.WouldFit(more, freed) && (memory_.whole() == nullptr || memory_.whole()->WouldFit(more, freed));
    };
    // What is being unloaded already counts as gone.
    size_t freed = UnloadingBytes();
    std::vector<Record*> spares = FindSpares();
    size_t needed = 0;
    for (; needed < spares.size() && !fits(freed); ++needed) freed += spares[needed]->info.memory_bytes();
    const bool is_enough = fits(freed);
    if (!is_enough && !memory_.WouldFit(more, freed)) return TooManyModels(key, bytes);
    spares.resize(is_enough ? needed : 0);
    for (Record* spare : spares) BeginUnload(*spare);
    if (absl::Now() >= until) return HeldByCalls(key, bytes);
    // Calls in flight hold what makes room, or their requests and answers do, whose end nobody here is told of.
    const auto has_room = [&] { return fits(0); };
    mutex_.AwaitWithTimeout(absl::Condition(&has_room), kLook);
  }
  return absl::OkStatus();
}

absl::Status Catalog::TooManyModels(const VersionKey& key, size_t bytes) const {
  return ResourceExhausted(
      "memory", absl::StrCat(key.Reference(), " needs ", bytes, " bytes; loaded versions use ", memory_.used(), " of ",
                             memory_.ceiling(), ". Unload others, or raise --max-model-bytes"));
}

absl::Status Catalog::HeldByCalls(const VersionKey& key, size_t bytes) const {
  std::string message = absl::StrCat(key.Reference(), " needs ", bytes, " bytes; ", UnloadingBytes(),
                                     " bytes of unloaded versions are held by calls in flight");
  if (const MemoryBudget* whole = memory_.whole()) {
    absl::StrAppend(&message, ", and models, requests and other uses have ", whole->used(), " of ", whole->ceiling(),
                    " (--max-memory)");
  }
  return ResourceExhausted("memory", absl::StrCat(message, ". Try again"), patience_);
}

size_t Catalog::UnloadingBytes() const {
  size_t bytes = 0;
  for (const auto& [name, model] : models_) {
    for (const auto& [version, record] : model.versions) {
      if (record.info.state() == density::v1::UNLOADING) bytes += record.info.memory_bytes();
    }
  }
  return bytes;
}

std::vector<Catalog::Record*> Catalog::FindSpares() {
  std::vector<Record*> spares;
  for (auto& [name, model] : models_) {
    for (auto& [version, record] : model.versions) {
      if (record.servable != nullptr && !record.pinned && !MayBeNamed(model, version)) spares.push_back(&record);
    }
  }
  std::sort(spares.begin(), spares.end(), [](const Record* a, const Record* b) {
    const auto age = [](const Record* record) {
      const auto& time = record->info.create_time();
      return std::make_tuple(time.seconds(), time.nanos(), record->info.name(), record->info.version());
    };
    return age(a) < age(b);
  });
  return spares;
}

}  // namespace densityd::registry
