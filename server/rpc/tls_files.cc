#include "server/rpc/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;
constexpr char kCertificateFlag[] = "--tls-cert";
constexpr char kKeyFlag[] = "--tls-key";
constexpr char kClientCaFlag[] = "--tls-client-ca";

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Bio = std::unique_ptr<BIO, Free>;
using Certificate = std::unique_ptr<X509, Free>;
using Key = std::unique_ptr<EVP_PKEY, Free>;

Bio Reader(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

/// OpenSSL would ask on the terminal.
int NoPassword(char* /*buffer*/, int /*size*/, int /*rwflag*/, void* /*data*/) { return -1; }

absl::Status Wrong(const char* flag, const std::string& path, const std::string& what) {
  return DataLoss(path, "", absl::StrCat("given as ", flag, ", ", what));
}

/// What OpenSSL said last, which is forgotten then.
std::string Reason() {
  char text[256] = {};
  ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
  ERR_clear_error();
  return text;
}

absl::StatusOr<std::vector<Certificate>> ReadCertificates(const char* flag, const std::string& path,
                                                          const std::string& text) {
  ERR_clear_error();
  const Bio reader = Reader(text);
  std::vector<Certificate> certificates;
  while (X509* next = PEM_read_bio_X509(reader.get(), nullptr, NoPassword, nullptr)) certificates.emplace_back(next);
  // The end of the file is an error, too: no further beginning.
  const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string reason = Reason();
  if (!ended) return Wrong(flag, path, absl::StrCat("holds a certificate that cannot be read: ", reason));
  if (certificates.empty()) return Wrong(flag, path, "holds no certificate in PEM");
  return certificates;
}

absl::StatusOr<Key> ReadKey(const std::string& path, const std::string& text) {
  ERR_clear_error();
  const Bio reader = Reader(text);
  Key key(PEM_read_bio_PrivateKey(reader.get(), nullptr, NoPassword, nullptr));
  if (key != nullptr) return key;
  return Wrong(kKeyFlag, path,
               absl::StrCat("holds no private key in PEM that can be read without password: ", Reason()));
}

}  // namespace

absl::Status CheckTls(const TlsOptions& options, const TlsTexts& texts) {
  const auto chain = ReadCertificates(kCertificateFlag, options.certificate, texts.certificate);
  if (!chain.ok()) return chain.status();
  const absl::StatusOr<Key> key = ReadKey(options.key, texts.key);
  if (!key.ok()) return key.status();
  if (X509_check_private_key(chain->front().get(), key->get()) != 1) {
    ERR_clear_error();
    return Wrong(kKeyFlag, options.key,
                 absl::StrCat("is not the key of the first certificate in ", options.certificate));
  }
  if (options.client_ca.empty()) return absl::OkStatus();
  return ReadCertificates(kClientCaFlag, options.client_ca, texts.client_ca).status();
}

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(FileSystem& files, TlsOptions options,
                                                         absl::Duration interval) {
  auto opened = std::unique_ptr<TlsFiles>(new TlsFiles(files, std::move(options)));
  {
    absl::MutexLock lock(&opened->loading_);
    if (const absl::StatusOr<Stamps> stamps = opened->ReadStamps(); stamps.ok()) opened->seen_ = *stamps;
    if (absl::Status status = opened->Load(); !status.ok()) return status;
  }
  opened->poll_.emplace(interval, [raw = opened.get()] { raw->Refresh(); });
  return opened;
}

TlsFiles::State TlsFiles::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

absl::StatusOr<TlsFiles::Stamps> TlsFiles::ReadStamps() const {
  Stamps stamps;
  size_t i = 0;
  for (const std::string* path : {&options_.certificate, &options_.key, &options_.client_ca}) {
    FileStamp& stamp = stamps[i++];
    if (path->empty()) continue;
    const absl::StatusOr<FileStamp> read = files_->Stamp(*path);
    if (!read.ok()) return read.status();
    stamp = *read;
  }
  return stamps;
}

absl::StatusOr<TlsTexts> TlsFiles::ReadTexts() const {
  TlsTexts texts;
  const auto read = [&](const char* flag, const std::string& path, std::string& text) {
    if (path.empty()) return absl::OkStatus();
    absl::StatusOr<std::string> content = files_->Read(path, kMaxPemBytes);
    if (!content.ok()) return Annotate(content.status(), flag);
    text = *std::move(content);
    return absl::OkStatus();
  };
  if (auto status = read(kCertificateFlag, options_.certificate, texts.certificate); !status.ok()) return status;
  if (auto status = read(kKeyFlag, options_.key, texts.key); !status.ok()) return status;
  if (auto status = read(kClientCaFlag, options_.client_ca, texts.client_ca); !status.ok()) return status;
  return texts;
}

absl::Status TlsFiles::Load() {
  absl::StatusOr<TlsTexts> texts = ReadTexts();
  if (!texts.ok()) return texts.status();
  if (absl::Status status = CheckTls(options_, *texts); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  state_.texts = std::make_shared<const TlsTexts>(*std::move(texts));
  ++state_.generation;
  return absl::OkStatus();
}

void TlsFiles::Refresh() {
  absl::MutexLock loading(&loading_);
  // Before the files are read: a change meanwhile is seen by the next look.
  const absl::StatusOr<Stamps> stamps = ReadStamps();
  // What failed is tried again even so: the reason may have been the machine's, as of no free descriptor.
  if (stamps.ok() && *stamps == seen_ && complaint_.empty()) return;
  if (stamps.ok()) seen_ = *stamps;
  const absl::Status status = stamps.ok() ? Load() : stamps.status();
  const std::string complaint(ToStd(status.message()));
  if (status.ok()) {
    Log(LogLevel::kInfo, "certificates read", {{"certificate", options_.certificate}});
  } else if (complaint != complaint_) {
    Log(LogLevel::kError, "certificates stay as they were", {{"error", complaint}});
  }
  complaint_ = complaint;
}

}  // namespace densityd::rpc
