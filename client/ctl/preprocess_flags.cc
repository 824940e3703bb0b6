#include "client/ctl/preprocess_flags.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/ctl/messages.h"

namespace densityd::ctl {
namespace {

using density::v1::ColumnPreprocessing;
using density::v1::Preprocessing;

constexpr char kAutomatic[] = "automatic";
constexpr char kEmbedding[] = "embedding:";

bool Contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// "0..100" or "0.."; false for anything else.
bool ParseEnds(const std::string& word, ColumnPreprocessing& column) {
  const size_t dots = word.find("..");
  double low = 0;
  double high = 0;
  if (dots == std::string::npos || !absl::SimpleAtod(word.substr(0, dots), &low)) return false;
  column.set_low(low);
  if (dots + 2 == word.size()) return true;
  if (!absl::SimpleAtod(word.substr(dots + 2), &high)) return false;
  column.set_high(high);
  return true;
}

bool ParseEmbedding(const std::string& word, ColumnPreprocessing& column) {
  uint32_t numbers = 0;
  if (word.rfind(kEmbedding, 0) != 0 || !absl::SimpleAtoi(word.substr(sizeof(kEmbedding) - 1), &numbers)) return false;
  column.set_embedding(numbers);
  return true;
}

/// False for a word that means nothing.
bool ParseWord(const std::string& word, ColumnPreprocessing& column) {
  const auto& kinds = *ColumnPreprocessing::Kind_descriptor();
  const auto& scalings = *ColumnPreprocessing::Scaling_descriptor();
  if (Contains(EnumNames(kinds), word)) {
    column.set_kind(static_cast<ColumnPreprocessing::Kind>(EnumNumber(kinds, word)));
  } else if (Contains(EnumNames(scalings), word)) {
    column.set_scaling(static_cast<ColumnPreprocessing::Scaling>(EnumNumber(scalings, word)));
  } else if (word == "unknown") {
    column.set_accept_unknown(true);
  } else if (word == "missing") {
    column.set_accept_missing(true);
  } else {
    return ParseEnds(word, column) || ParseEmbedding(word, column);
  }
  return true;
}

}  // namespace

std::string PreprocessWords() {
  return absl::StrCat(absl::StrJoin(EnumNames(*ColumnPreprocessing::Kind_descriptor()), ", "), "; ",
                      absl::StrJoin(EnumNames(*ColumnPreprocessing::Scaling_descriptor()), ", "),
                      "; LOW..HIGH or LOW..");
}

absl::Status ParsePreprocessing(const std::string& flag, const std::vector<std::string>& values,
                                Preprocessing& preprocessing) {
  for (const std::string& value : values) {
    if (value == kAutomatic) continue;
    // A name may have any characters, words have no '='.
    const size_t equals = value.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, " ", value, ": give `automatic`, or a column and how, such as price=integer,log"));
    }
    ColumnPreprocessing& column = *preprocessing.add_columns();
    column.set_name(value.substr(0, equals));
    for (const auto word : absl::StrSplit(value.substr(equals + 1), ',')) {
      if (ParseWord(std::string(word), column)) continue;
      return absl::InvalidArgumentError(absl::StrCat(flag, " ", value, ": '", word, "' is not one of ",
                                                     PreprocessWords(), "; for context missing, unknown, embedding:N"));
    }
  }
  return absl::OkStatus();
}

}  // namespace densityd::ctl
