// The files that TLS is made of: read, checked, and read again when they change.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/file_system.h"
#include "server/base/periodic.h"

namespace densityd::rpc {

/// PEM files. They are read again when they change, so that certificates are renewed without a restart.
struct TlsOptions {
  std::string certificate;  ///< the server's chain; empty: no TLS
  std::string key;          ///< its private key; needed with `certificate`
  std::string client_ca;    ///< clients must show a certificate signed by one of these; empty: they need none
};

/// What stands in the files.
struct TlsTexts {
  std::string certificate;
  std::string key;
  std::string client_ca;
};

/// Whether every certificate and the key can be read to their ends, and the key is that of the chain's first
/// certificate. DATA_LOSS naming the file and its flag, whose names are those in `options`.
absl::Status CheckTls(const TlsOptions& options, const TlsTexts& texts);

/// Keeps the last set of files that was good. A set that is not (half written, a certificate whose key has not come
/// yet) is complained of in the log, and what was before goes on to be served. Thread-safe.
class TlsFiles {
 public:
  /// Reads the files and then looks at them every `interval`. NOT_FOUND and the like; errors of CheckTls.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(FileSystem& files, TlsOptions options, absl::Duration interval);

  struct State {
    std::shared_ptr<const TlsTexts> texts;
    uint64_t generation = 0;  ///< grows whenever the texts change
  };
  State state() const;

  /// Reads the files now if they have changed or could not be taken. The poll does this; tests need not wait for it.
  void Refresh();

 private:
  using Stamps = std::array<FileStamp, 3>;

  TlsFiles(FileSystem& files, TlsOptions options) : files_(&files), options_(std::move(options)) {}
  absl::StatusOr<Stamps> ReadStamps() const;
  absl::StatusOr<TlsTexts> ReadTexts() const;
  absl::Status Load();

  FileSystem* const files_;
  const TlsOptions options_;
  absl::Mutex loading_;  ///< one at a time
  Stamps seen_ ABSL_GUARDED_BY(loading_);
  std::string complaint_ ABSL_GUARDED_BY(loading_);  ///< of the last look, which the log has; empty: none
  mutable absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_);
  std::optional<Periodic> poll_;
};

}  // namespace densityd::rpc
