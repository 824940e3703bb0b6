#include "server/base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace densityd {
namespace {

// FIPS 180-4 example values.
TEST(Sha256Test, KnownDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256Test, PartsGiveTheDigestOfTheWhole) {
  const std::string bytes(1000, 'd');
  for (size_t cut = 0; cut <= bytes.size(); cut += 37) {
    Sha256 sha;
    sha.Update(std::string_view(bytes).substr(0, cut));
    sha.Update(std::string_view(bytes).substr(cut));
    EXPECT_EQ(sha.HexDigest(), Sha256Hex(bytes)) << cut;
  }
}

}  // namespace
}  // namespace densityd
