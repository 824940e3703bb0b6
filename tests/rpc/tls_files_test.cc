#include "server/rpc/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <filesystem>
#include <memory>
#include <string>

#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"

namespace densityd::rpc {
namespace {

using densityd::testing::WriteFile;
using ::testing::HasSubstr;

std::string TakeText(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  std::string text(bytes, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

/// A key and a certificate that it signed itself, as PEM.
struct Pair {
  std::string key;
  std::string certificate;
};

Pair MakePair() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  BIO* key_text = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(key_text, key, nullptr, nullptr, 0, nullptr, nullptr);
  BIO* certificate_text = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate_text, certificate);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return {TakeText(key_text), TakeText(certificate_text)};
}

class TlsFilesTest : public ::testing::Test {
 protected:
  TlsFilesTest() {
    WriteFile(options_.certificate, first_.certificate);
    WriteFile(options_.key, first_.key);
    WriteFile(options_.client_ca, first_.certificate);
  }
  void Open(FileSystem& files = FileSystem::Real()) {
    auto opened = TlsFiles::Open(files, options_, absl::InfiniteDuration());
    ASSERT_TRUE(opened.ok()) << opened.status();
    files_ = *std::move(opened);
  }
  /// As operators should: all at once.
  static void Replace(const std::string& path, const std::string& text) {
    WriteFile(path + ".new", text);
    std::filesystem::rename(path + ".new", path);
  }
  absl::Status Check(const TlsTexts& texts) const { return CheckTls(options_, texts); }
  /// Whether the error is about the file given as `flag`.
  static void ExpectWrong(const absl::Status& status, const std::string& flag, const std::string& what) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), ::testing::AllOf(HasSubstr(flag), HasSubstr(what)));
  }

  const Pair first_ = MakePair();
  const Pair second_ = MakePair();
  const densityd::testing::TempFolder folder_;
  const TlsOptions options_ = {folder_.Path("server.pem"), folder_.Path("server.key"), folder_.Path("ca.pem")};
  std::unique_ptr<TlsFiles> files_;
};

TEST_F(TlsFilesTest, ACertificateAndItsKeyAreGood) {
  EXPECT_TRUE(Check({first_.certificate, first_.key, second_.certificate}).ok());
  EXPECT_TRUE(Check({first_.certificate + second_.certificate, first_.key, first_.certificate}).ok()) << "a chain";
}

TEST_F(TlsFilesTest, TheKeyOfAnotherCertificateIsNamed) {
  ExpectWrong(Check({first_.certificate, second_.key, first_.certificate}), "--tls-key", "is not the key");
  ExpectWrong(Check({second_.certificate + first_.certificate, first_.key, first_.certificate}), "--tls-key",
              "is not the key");
}

TEST_F(TlsFilesTest, WhatIsCutOffAnywhereIsNamed) {
  const auto cut = [](const std::string& text, size_t length) { return text.substr(0, length); };
  // The last newline may be missing.
  for (size_t length = 0; length + 1 < first_.certificate.size(); ++length) {
    const std::string half = cut(first_.certificate, length);
    ExpectWrong(Check({half, first_.key, first_.certificate}), "--tls-cert", options_.certificate);
    ExpectWrong(Check({first_.certificate, first_.key, half}), "--tls-client-ca", options_.client_ca);
  }
  for (size_t length = 0; length + 1 < first_.key.size(); ++length) {
    ExpectWrong(Check({first_.certificate, cut(first_.key, length), first_.certificate}), "--tls-key", options_.key);
  }
}

TEST_F(TlsFilesTest, AChainThatEndsInHalfACertificateIsNamed) {
  const std::string half = second_.certificate.substr(0, second_.certificate.size() / 2);
  ExpectWrong(Check({first_.certificate + half, first_.key, first_.certificate}), "--tls-cert", "cannot be read");
}

TEST_F(TlsFilesTest, AKeyThatWantsAPasswordIsNamedAndNobodyIsAsked) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  BIO* text = BIO_new(BIO_s_mem());
  char password[] = "secret";
  PEM_write_bio_PrivateKey(text, key, EVP_aes_128_cbc(), nullptr, 0, nullptr, password);
  EVP_PKEY_free(key);
  ExpectWrong(Check({first_.certificate, TakeText(text), first_.certificate}), "--tls-key", "without password");
}

TEST_F(TlsFilesTest, ARenewalTakesEffectOnceAllOfItIsThere) {
  Open();
  const TlsFiles::State before = files_->state();
  EXPECT_EQ(before.texts->key, first_.key);
  Replace(options_.certificate, second_.certificate);
  files_->Refresh();
  EXPECT_EQ(files_->state().texts, before.texts) << "the key has not come yet";
  Replace(options_.key, second_.key.substr(0, 50));
  files_->Refresh();
  EXPECT_EQ(files_->state().generation, before.generation) << "half of it has";
  Replace(options_.key, second_.key);
  files_->Refresh();
  const TlsFiles::State after = files_->state();
  EXPECT_GT(after.generation, before.generation);
  EXPECT_EQ(after.texts->key, second_.key);
  EXPECT_EQ(after.texts->certificate, second_.certificate);
  files_->Refresh();
  EXPECT_EQ(files_->state().generation, after.generation) << "nothing new";
}

TEST_F(TlsFilesTest, FilesThatAreAwayForAWhileChangeNothing) {
  Open();
  const TlsFiles::State before = files_->state();
  std::filesystem::remove(options_.key);
  files_->Refresh();
  EXPECT_EQ(files_->state().texts, before.texts);
  Replace(options_.certificate, second_.certificate);
  Replace(options_.key, second_.key);
  files_->Refresh();
  EXPECT_EQ(files_->state().texts->key, second_.key);
}

TEST_F(TlsFilesTest, WhatCouldNotBeReadIsTriedAgainThoughNothingChangedSince) {
  densityd::testing::FaultyFileSystem files(FileSystem::Real());
  Open(files);
  Replace(options_.certificate, second_.certificate);
  Replace(options_.key, second_.key);
  files.FailReadAt(3, absl::ResourceExhaustedError("too many open files"));  // Three look whether there is a change.
  files_->Refresh();
  EXPECT_EQ(files_->state().texts->key, first_.key);
  files_->Refresh();
  EXPECT_EQ(files_->state().texts->key, second_.key);
  files_.reset();
}

TEST_F(TlsFilesTest, AServerDoesNotStartWithWhatIsWrong) {
  Replace(options_.key, second_.key);
  const auto opened = TlsFiles::Open(FileSystem::Real(), options_, absl::InfiniteDuration());
  ExpectWrong(opened.status(), "--tls-key", options_.key);
}

}  // namespace
}  // namespace densityd::rpc
