#include "server/rpc/authorizer.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/security/auth_context.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/posix.h"
#include "server/base/strings.h"
#include "server/rpc/permissions.h"

namespace densityd::rpc {
namespace {

constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr char kHeader[] = "authorization";
constexpr std::string_view kScheme = "bearer ";

/// The token of an `authorization` header; UNAUTHENTICATED where it is of another kind.
absl::StatusOr<std::string_view> BearerToken(std::string_view header) {
  if (!absl::StartsWithIgnoreCase(ToAbsl(header), ToAbsl(kScheme))) {
    return absl::UnauthenticatedError("the metadata `authorization` is not `Bearer TOKEN`");
  }
  return header.substr(kScheme.size());
}

std::string_view ModelName(std::string_view reference) { return reference.substr(0, reference.find('@')); }

bool HasRight(const Grant& grant, const Permission& permission) {
  if (!permission.any_right) return grant.Has(permission.right);
  return grant.Has(Right::kInfer) || grant.Has(Right::kTrain) || grant.Has(Right::kAdmin);
}

absl::Status Denied(const Grant& grant, telemetry::RpcMethod method, const Permission& permission,
                    std::string_view model) {
  const std::string right = permission.any_right ? "one of the rights infer, train, admin"
                                                 : absl::StrCat("the right ", RightName(permission.right));
  const std::string scope = permission.scope != Scope::kModel ? ""
                            : model.empty()                   ? " for all models"
                                                              : absl::StrCat(" for the model ", Quote(model));
  return absl::PermissionDeniedError(absl::StrCat(Quote(grant.name), " may not call ", telemetry::RpcMethodName(method),
                                                  ": that needs ", right, scope));
}

}  // namespace

std::vector<std::string> CertificateNames(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  std::vector<std::string> names;
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return names;
  for (const char* property : {"x509_subject_alternative_name", "x509_common_name"}) {
    for (const grpc::string_ref& value : auth->FindPropertyValues(property)) {
      names.emplace_back(value.data(), value.size());
    }
  }
  return names;
}

absl::StatusOr<std::unique_ptr<Authorizer>> Authorizer::Open(std::string file, const Clock& clock,
                                                             absl::Duration poll_interval,
                                                             serving::QuotaLimits limits) {
  auto authorizer = std::unique_ptr<Authorizer>(new Authorizer(std::move(file), clock, limits));
  if (!authorizer->in_use()) return authorizer;
  if (absl::Status status = authorizer->Load(); !status.ok()) return Annotate(status, "--auth-file");
  authorizer->poll_.emplace(poll_interval, [raw = authorizer.get()] { raw->Refresh(); });
  return authorizer;
}

absl::StatusOr<Authorizer::Stamp> Authorizer::ReadStamp() const {
  struct stat facts = {};
  if (stat(file_.c_str(), &facts) != 0) return ErrnoStatus(errno, "read", file_);
  if ((facts.st_mode & S_IWOTH) != 0) {
    return FailedPrecondition("file", file_,
                              absl::StrCat(file_, ": everybody may write it; take that right away (chmod o-w)"));
  }
  return Stamp{static_cast<int64_t>(facts.st_ino), facts.st_size,
               facts.st_mtim.tv_sec * 1'000'000'000 + facts.st_mtim.tv_nsec};
}

absl::Status Authorizer::Load() {
  // The stamp first: a change while the file is read is seen by the next look.
  const absl::StatusOr<Stamp> stamp = ReadStamp();
  if (!stamp.ok()) return stamp.status();
  const absl::StatusOr<std::string> text = FileSystem::Real().Read(file_, kMaxFileBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<Grants> grants = Grants::Parse(*text, file_);
  absl::MutexLock lock(&mutex_);
  // A file that is wrong is complained of once, not at every look.
  stamp_ = *stamp;
  if (!grants.ok()) return grants.status();
  AttachQuotas(*grants);
  grants_ = std::make_shared<const Grants>(*std::move(grants));
  return absl::OkStatus();
}

void Authorizer::AttachQuotas(Grants& grants) {
  std::map<std::string, std::shared_ptr<serving::ClientQuota>> quotas;
  grants.ForEach([&](Grant& grant) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::shared_ptr<serving::ClientQuota>& quota = quotas[grant.name];
    if (quota == nullptr) {
      const serving::QuotaLimits limits = {
          .rows_per_second = grant.max_rows_per_second.value_or(limits_.rows_per_second),
          .calls = grant.max_calls.value_or(limits_.calls)};
      if (const auto known = quotas_.find(grant.name); known != quotas_.end()) {
        quota = known->second;
        quota->set_limits(limits);
      } else {
        quota = std::make_shared<serving::ClientQuota>(grant.name, limits);
      }
    }
    grant.quota = quota;
  });
  quotas_ = std::move(quotas);
}

void Authorizer::Refresh() {
  absl::MutexLock loading(&loading_);
  const absl::StatusOr<Stamp> stamp = ReadStamp();
  {
    absl::MutexLock lock(&mutex_);
    if (stamp.ok() && *stamp == stamp_) return;
    if (!stamp.ok() && stamp_ == Stamp{}) return;
    if (!stamp.ok()) stamp_ = Stamp{};
  }
  const absl::Status status = stamp.ok() ? Load() : stamp.status();
  if (status.ok()) {
    Log(LogLevel::kInfo, "grants read", {{"file", file_}, {"grants", grants()->size()}});
  } else {
    Log(LogLevel::kError, "grants stay as they were", {{"file", file_}, {"error", ToStd(status.message())}});
  }
}

std::shared_ptr<const Grants> Authorizer::grants() const {
  absl::ReaderMutexLock lock(&mutex_);
  return grants_;
}

std::vector<std::shared_ptr<const serving::ClientQuota>> Authorizer::Quotas() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::shared_ptr<const serving::ClientQuota>> list;
  for (const auto& [name, quota] : quotas_) list.push_back(quota);
  return list;
}

absl::StatusOr<Caller> Authorizer::Identify(const grpc::ServerContextBase& context) const {
  std::shared_ptr<const Grants> grants = this->grants();
  const absl::Time now = clock_->Now();
  const Grant* grant = nullptr;
  const auto& metadata = context.client_metadata();
  if (const auto header = metadata.find(kHeader); header != metadata.end()) {
    // A token is what its sender wants to be known by, whatever certificate the connection has.
    const auto token = BearerToken({header->second.data(), header->second.size()});
    if (!token.ok()) return token.status();
    const auto of_token = grants->OfToken(*token, now);
    if (!of_token.ok()) return of_token.status();
    grant = *of_token;
  } else {
    const std::vector<std::string> names = CertificateNames(context);
    grant = grants->OfCertificate(names, now);
    if (grant == nullptr && !names.empty()) {
      return absl::UnauthenticatedError("the client certificate is of nobody who is known here, and no token was sent");
    }
  }
  if (grant == nullptr) {
    return absl::UnauthenticatedError("no credentials: send a token (metadata `authorization: Bearer TOKEN`)");
  }
  return Caller(std::shared_ptr<const Grant>(std::move(grants), grant));
}

absl::StatusOr<Caller> Authorizer::Authenticate(const grpc::ServerContextBase& context) const {
  if (!in_use()) return Caller();
  return Identify(context);
}

Admission Authorizer::Admit(const grpc::ServerContextBase& context, telemetry::RpcMethod method,
                            std::string_view model) const {
  if (!in_use()) return {};
  const absl::StatusOr<Caller> caller = Identify(context);
  if (!caller.ok()) return {Caller(), caller.status()};
  const Permission permission = PermissionOf(method);
  const Grant& grant = *caller->grant();
  const std::string_view name = ModelName(model);
  const bool in_scope = permission.scope != Scope::kModel || (name.empty() ? grant.CoversAll() : grant.Covers(name));
  if (HasRight(grant, permission) && in_scope) return {*caller, absl::OkStatus()};
  return {*caller, Denied(grant, method, permission, name)};
}

absl::Status Authorizer::CheckModel(const Caller& caller, telemetry::RpcMethod method, std::string_view model) {
  if (caller.MayTouch(model)) return absl::OkStatus();
  Permission permission = PermissionOf(method);
  permission.scope = Scope::kModel;
  return Denied(*caller.grant(), method, permission, model);
}

bool Authorizer::MayReadMetrics(std::string_view token) const {
  if (!in_use()) return true;
  const std::shared_ptr<const Grants> grants = this->grants();
  const auto grant = grants->OfToken(token, clock_->Now());
  return grant.ok() && (*grant)->Has(Right::kMetrics);
}

}  // namespace densityd::rpc
