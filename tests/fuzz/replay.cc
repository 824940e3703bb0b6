// Runs a fuzz target over a corpus and over mutations of it: what a build without libFuzzer, and every test run, has.
//
//   fuzz_csv FOLDER [MUTATIONS [SEED]]
//
// Each mutation is made from SEED and its index alone. The input that breaks a promise is left in ./broken-input.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/check.h"

namespace densityd::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxInput = 1 << 16;

const std::string* current_input = nullptr;

/// Only calls that may be made in a signal handler.
void KeepInput(int signal) {
  const int file = open("broken-input", O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file >= 0 && current_input != nullptr) (void)!write(file, current_input->data(), current_input->size());
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void Run(const std::string& input) {
  current_input = &input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const unsigned char*>(input.data()), input.size());
}

std::vector<std::string> ReadCorpus(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const fs::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

/// Changes inputs as damage and malice do: bits, cuts, repeats, pieces of other inputs, and numbers that are extreme.
class Mutator {
 public:
  Mutator(const std::vector<std::string>& corpus, uint64_t seed) : corpus_(corpus), random_(seed) {}

  std::string Make() {
    std::string input = corpus_[Below(corpus_.size())];
    const size_t changes = 1 + Below(4);
    for (size_t i = 0; i < changes; ++i) Change(input);
    input.resize(std::min(input.size(), kMaxInput));
    return input;
  }

 private:
  size_t Below(size_t bound) { return random_() % bound; }

  void Change(std::string& input) {
    const size_t at = Below(input.size() + 1);
    const size_t length = Below(std::min<size_t>(input.size() - at, 64) + 1);
    switch (Below(7)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << Below(8)));
        break;
      case 1:
        input.resize(at);
        break;
      case 2:
        input.erase(at, length);
        break;
      case 3:
        input.insert(at, input.substr(at, length));
        break;
      case 4: {
        const std::string& other = corpus_[Below(corpus_.size())];
        const size_t from = Below(other.size() + 1);
        input.replace(at, length, other, from, Below(other.size() - from + 1));
        break;
      }
      case 5:
        ReplaceNumber(input);
        break;
      default:
        OverwriteInteger(input, at);
    }
  }

  /// Digits that stand in a text become others.
  void ReplaceNumber(std::string& input) {
    static constexpr const char* kNumbers[] = {"0",
                                               "-1",
                                               "18446744073709551615",
                                               "1152921504606846976",
                                               "1e999",
                                               "-0.0",
                                               "nan",
                                               "4294967296",
                                               "2147483648",
                                               "1e-999",
                                               "",
                                               "0.5",
                                               "99999999999999999999",
                                               "[",
                                               "\"x\""};
    const size_t begin = input.find_first_of("0123456789", Below(input.size() + 1));
    if (begin == std::string::npos) return;
    const size_t end = std::min(input.find_first_not_of("0123456789", begin), input.size());
    input.replace(begin, end - begin, kNumbers[Below(std::size(kNumbers))]);
  }

  /// Eight bytes become an extreme little-endian number.
  void OverwriteInteger(std::string& input, size_t at) {
    static constexpr uint64_t kIntegers[] = {0, 1, 255, 65536, uint64_t{1} << 32, uint64_t{1} << 60, ~uint64_t{0}};
    const uint64_t value = kIntegers[Below(std::size(kIntegers))];
    for (size_t i = 0; i < 8 && at + i < input.size(); ++i) input[at + i] = static_cast<char>(value >> (8 * i));
  }

  const std::vector<std::string>& corpus_;
  std::mt19937_64 random_;
};

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: " << argv[0] << " CORPUS-FOLDER [MUTATIONS [SEED]]\n";
    return 2;
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, KeepInput);
  const std::vector<std::string> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) {
    std::cerr << argv[1] << ": no inputs\n";
    return 2;
  }
  for (const std::string& input : corpus) Run(input);
  const uint64_t mutations = argc > 2 ? std::stoull(argv[2]) : 0;
  const uint64_t seed = argc > 3 ? std::stoull(argv[3]) : 1;
  for (uint64_t i = 0; i < mutations; ++i) {
    const std::string input = Mutator(corpus, seed * 1'000'003 + i).Make();
    Run(input);
  }
  std::cout << corpus.size() << " inputs and " << mutations << " mutations of them: every promise held\n";
  return 0;
}

}  // namespace
}  // namespace densityd::fuzz

int main(int argc, char** argv) { return densityd::fuzz::Main(argc, argv); }
