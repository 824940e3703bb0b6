#include "server/registry/catalog.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/registry/alias_file.h"

namespace densityd::registry {
namespace {

using density::v1::Aliases;
using density::v1::ModelInfo;
using density::v1::VersionInfo;
using density::v1::VersionState;

/// Why a version that is known does not answer.
absl::Status NotReady(const VersionInfo& info, const absl::Status& error) {
  const std::string reference = VersionKey{info.name(), info.version()}.Reference();
  switch (info.state()) {
    case density::v1::LOADING:
      return FailedPrecondition("version", reference, absl::StrCat(reference, " is still loading; try again soon"));
    case density::v1::LOAD_FAILED:
      if (absl::IsDataLoss(error)) return Annotate(error, absl::StrCat(reference, " cannot be loaded"));
      return FailedPrecondition("version", reference,
                                absl::StrCat(reference, " could not be loaded: ", error.message(),
                                             "; load it again (ModelRegistry.Load) when that is mended"));
    default:
      return FailedPrecondition("version", reference,
                                absl::StrCat(reference, " is not loaded; load it first (ModelRegistry.Load)"));
  }
}

/// The aliases that name a version.
std::set<std::string> NamesOf(uint64_t version, const absl::StatusOr<Aliases>& aliases) {
  std::set<std::string> names;
  if (!aliases.ok()) return names;
  for (const auto& [alias, named] : aliases->versions()) {
    if (named == version) names.insert(alias);
  }
  return names;
}

absl::Status UnknownVersion(const VersionKey& key) {
  return NotFound("version", key.Reference(), absl::StrCat("there is no version ", key.Reference()));
}

}  // namespace

std::string VersionKey::Reference() const { return absl::StrCat(name, "@", version); }

absl::StatusOr<ModelHandle> Catalog::Acquire(std::string_view reference) const {
  if (std::optional<ModelHandle> handle = handles_.Find(reference)) return *std::move(handle);
  const absl::StatusOr<ModelReference> parsed = ParseModelReference("model", reference);
  if (!parsed.ok()) return parsed.status();
  absl::ReaderMutexLock lock(&mutex_);
  const absl::StatusOr<VersionKey> key = ResolveLocked(*parsed);
  if (!key.ok()) return key.status();
  const Record* record = Find(*key);
  if (record == nullptr) return UnknownVersion(*key);
  if (parsed->version.has_value()) record->by_number->Note();
  // It may have become ready since the look-up.
  if (record->servable != nullptr) return ModelHandle{key->name, key->version, record->servable};
  return NotReady(record->info, record->error);
}

void Catalog::Add(const VersionKey& key, const VersionInfo& facts, const absl::Status& error) {
  absl::MutexLock lock(&mutex_);
  const auto [record, is_new] = models_[key.name].versions.try_emplace(key.version);
  if (!is_new) return;
  record->second.info = facts;
  record->second.info.set_name(key.name);
  record->second.info.set_version(key.version);
  SetState(record->second, error.ok() ? density::v1::NOT_LOADED : density::v1::LOAD_FAILED, error);
}

bool Catalog::Knows(const VersionKey& key) const {
  absl::ReaderMutexLock lock(&mutex_);
  return Find(key) != nullptr;
}

void Catalog::Forget(const std::string& name, const std::vector<uint64_t>& present) {
  absl::MutexLock lock(&mutex_);
  const auto model = models_.find(name);
  if (model == models_.end()) return;
  std::erase_if(model->second.versions, [&](const auto& entry) {
    const bool in_memory =
        entry.second.info.state() != density::v1::NOT_LOADED && entry.second.info.state() != density::v1::LOAD_FAILED;
    return !in_memory && std::find(present.begin(), present.end(), entry.first) == present.end();
  });
  if (model->second.versions.empty()) models_.erase(model);
}

void Catalog::SetAliases(const std::string& name, absl::StatusOr<Aliases> aliases) {
  absl::MutexLock lock(&mutex_);
  const auto model = models_.find(name);
  if (model == models_.end()) return;
  const absl::StatusOr<Aliases> old = std::exchange(model->second.aliases, std::move(aliases));
  RebuildHandles();
  // Whoever follows a name wants to hear of the version that it leads to now.
  for (const auto& [version, record] : model->second.versions) {
    if (NamesOf(version, old) != NamesOf(version, model->second.aliases)) events_.Push(record.info);
  }
}

absl::StatusOr<uint64_t> Catalog::ResolveAlias(const ModelReference& reference,
                                               const absl::StatusOr<Aliases>& aliases) {
  if (reference.version) return *reference.version;
  if (!aliases.ok()) return aliases.status();
  const auto found = aliases->versions().find(reference.alias);
  if (found != aliases->versions().end()) return found->second;
  return NotFound("alias", absl::StrCat(reference.name, "@", reference.alias),
                  absl::StrCat("model ", Quote(reference.name), " has no alias ", Quote(reference.alias)));
}

absl::StatusOr<VersionKey> Catalog::Resolve(const ModelReference& reference) const {
  absl::ReaderMutexLock lock(&mutex_);
  return ResolveLocked(reference);
}

absl::StatusOr<VersionKey> Catalog::ResolveLocked(const ModelReference& reference) const {
  const auto model = models_.find(reference.name);
  if (model == models_.end()) {
    return NotFound("model", reference.name, absl::StrCat("there is no model ", Quote(reference.name)));
  }
  const absl::StatusOr<uint64_t> version = ResolveAlias(reference, model->second.aliases);
  if (!version.ok()) return version.status();
  VersionKey key{reference.name, *version};
  if (Find(key) == nullptr) return UnknownVersion(key);
  return key;
}

absl::StatusOr<bool> Catalog::BeginLoad(const VersionKey& key, bool pinned) {
  absl::MutexLock lock(&mutex_);
  Record* record = Find(key);
  if (record == nullptr) return UnknownVersion(key);
  record->pinned |= pinned;
  if (record->servable != nullptr) return false;
  record->servable = record->last.lock();
  if (record->servable != nullptr) {
    SetState(*record, density::v1::READY);
    RebuildHandles();
    return false;
  }
  // What is left of the one before must be gone, or its memory would count twice.
  AwaitRelease(key);
  record = Find(key);
  if (record == nullptr) return UnknownVersion(key);
  SetState(*record, density::v1::LOADING);
  return true;
}

void Catalog::FinishLoad(const VersionKey& key, std::shared_ptr<const Servable> servable, Reservation room) {
  absl::MutexLock lock(&mutex_);
  Record& record = *Find(key);
  const uint64_t generation = ++record.generation;
  record.memory = std::move(room);
  record.info.set_memory_bytes(record.memory.bytes());
  record.info.set_plan(servable->plan_name());
  record.info.set_rows_are_independent(servable->rows_are_independent());
  record.servable = releases_.Track(std::move(servable), [this, key, generation] { Released(key, generation); });
  record.last = record.servable;
  SetState(record, density::v1::READY);
  RebuildHandles();
}

void Catalog::FailLoad(const VersionKey& key, const absl::Status& error) {
  absl::MutexLock lock(&mutex_);
  SetState(*Find(key), density::v1::LOAD_FAILED, error);
}

absl::Status Catalog::Unload(const VersionKey& key) {
  absl::MutexLock lock(&mutex_);
  Record* record = Find(key);
  if (record == nullptr) return UnknownVersion(key);
  record->pinned = false;
  if (record->info.state() == density::v1::LOADING) return NotReady(record->info, record->error);
  if (record->info.state() == density::v1::READY) BeginUnload(*record);
  AwaitRelease(key);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const void>> Catalog::HoldFiles(const VersionKey& key) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Record* record = Find(key);
  if (record == nullptr) return UnknownVersion(key);
  return record->files;
}

bool Catalog::MayBeNamed(const ModelRecord& model, uint64_t version) {
  return !model.aliases.ok() || !NamesOf(version, model.aliases).empty();
}

bool Catalog::IsUnused(const VersionKey& key, absl::Time since) const {
  // The record's, and the handle table's under its number: any other copy is a call's.
  constexpr int64_t kOwnHandles = 2;
  absl::ReaderMutexLock lock(&mutex_);
  const auto model = models_.find(key.name);
  const Record* record = Find(key);
  if (record == nullptr) return true;
  if (MayBeNamed(model->second, key.version)) return false;
  if (record->pinned || record->info.state() == density::v1::LOADING) return false;
  if (record->by_number->time() >= since || record->files.use_count() > 1) return false;
  return record->servable == nullptr ? record->last.expired() : record->servable.use_count() <= kOwnHandles;
}

absl::Status Catalog::CheckNotLoaded(const VersionKey& key) {
  absl::MutexLock lock(&mutex_);
  AwaitRelease(key);
  const Record* record = Find(key);
  if (record == nullptr) return UnknownVersion(key);
  const VersionState state = record->info.state();
  if (state == density::v1::NOT_LOADED || state == density::v1::LOAD_FAILED) return absl::OkStatus();
  const absl::string_view what =
      state == density::v1::UNLOADING ? "still answers calls in flight; try again soon" : "is loaded; unload it first";
  return FailedPrecondition("version", key.Reference(), absl::StrCat(key.Reference(), " ", what));
}

absl::StatusOr<VersionInfo> Catalog::Info(const VersionKey& key) const {
  absl::ReaderMutexLock lock(&mutex_);
  const Record* record = Find(key);
  if (record == nullptr) return UnknownVersion(key);
  return record->info;
}

ModelInfo Catalog::InfoOf(const std::string& name, const ModelRecord& model) {
  ModelInfo info;
  info.set_name(name);
  for (auto entry = model.versions.rbegin(); entry != model.versions.rend(); ++entry) {
    *info.add_versions() = entry->second.info;
  }
  if (model.aliases.ok()) *info.mutable_aliases() = *model.aliases;
  return info;
}

ModelInfo Catalog::Model(const std::string& name) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto model = models_.find(name);
  return model == models_.end() ? ModelInfo() : InfoOf(name, model->second);
}

std::vector<ModelInfo> Catalog::List() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<ModelInfo> list;
  for (const auto& [name, model] : models_) list.push_back(InfoOf(name, model));
  return list;
}

template <typename Models>
auto* Catalog::FindIn(Models& models, const VersionKey& key) {
  const auto model = models.find(key.name);
  using Found = decltype(&model->second.versions.begin()->second);
  if (model == models.end()) return Found{nullptr};
  const auto record = model->second.versions.find(key.version);
  return record == model->second.versions.end() ? Found{nullptr} : &record->second;
}

const Catalog::Record* Catalog::Find(const VersionKey& key) const { return FindIn(models_, key); }

Catalog::Record* Catalog::Find(const VersionKey& key) { return FindIn(models_, key); }

void Catalog::SetState(Record& record, VersionState state, absl::Status error) {
  record.info.set_state(state);
  record.info.set_error_code(static_cast<int>(error.code()));
  record.info.set_error(std::string(error.message()));
  record.error = std::move(error);
  if (state != density::v1::READY && state != density::v1::UNLOADING) {
    record.info.clear_memory_bytes();
    record.info.clear_plan();
    record.info.clear_rows_are_independent();
  }
  events_.Push(record.info);
}

void Catalog::BeginUnload(Record& record) {
  SetState(record, density::v1::UNLOADING);
  record.servable.reset();
  RebuildHandles();
}

void Catalog::AwaitRelease(const VersionKey& key) {
  // Until the last handle of what was loaded is gone, nothing is waited for; then only for its memory.
  const auto released_or_held = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Record* record = Find(key);
    return record == nullptr || record->info.state() != density::v1::UNLOADING || !record->last.expired();
  };
  mutex_.Await(absl::Condition(&released_or_held));
}

void Catalog::Released(const VersionKey& key, uint64_t generation) {
  {
    absl::MutexLock lock(&mutex_);
    Record* record = Find(key);
    if (record != nullptr && record->generation == generation) {
      record->memory.Release();
      if (record->info.state() == density::v1::UNLOADING) SetState(*record, density::v1::NOT_LOADED);
    }
  }
  events_.Deliver();
}

void Catalog::RebuildHandles() {
  HandleTable::Handles handles;
  for (const auto& [name, model] : models_) {
    for (const auto& [version, record] : model.versions) {
      if (record.servable == nullptr) continue;
      handles.emplace(absl::StrCat(name, "@", version),
                      HandleTable::Entry{{name, version, record.servable}, record.by_number});
    }
    if (!model.aliases.ok()) continue;
    for (const auto& [alias, version] : model.aliases->versions()) {
      const auto record = model.versions.find(version);
      if (record == model.versions.end() || record->second.servable == nullptr) continue;
      const HandleTable::Entry handle{{name, version, record->second.servable}, nullptr};
      handles.emplace(absl::StrCat(name, "@", alias), handle);
      if (alias == kLatest) handles.emplace(name, handle);
    }
  }
  handles_.Replace(std::move(handles));
}

}  // namespace densityd::registry
