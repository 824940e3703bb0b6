#include "examples/demo/picture.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace densityd::demo {
namespace {

absl::Status Close(std::ofstream& file, const std::string& path) {
  file.close();
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(path, " cannot be written"));
}

absl::Status WriteRows(const std::string& path, const Rows<float>& rows, size_t count) {
  std::ofstream file(path);
  for (size_t i = 0; i < std::min(count, rows.rows); ++i) {
    for (const float value : rows[i]) file << value << '\t';
    file << '\n';
  }
  return Close(file, path);
}

absl::Status WriteColumns(const std::string& path, const std::vector<const std::vector<float>*>& columns) {
  std::ofstream file(path);
  for (size_t i = 0; i < columns.front()->size(); ++i) {
    for (const std::vector<float>* column : columns) file << (*column)[i] << '\t';
    file << '\n';
  }
  return Close(file, path);
}

}  // namespace

absl::Status WritePictureFiles(const std::string& folder, const Data& data, const Rows<float>& planted,
                               const std::vector<Answers>& models, const Answers& drawn) {
  std::vector<const std::vector<float>*> held_out;
  std::vector<const std::vector<float>*> anomalies;
  for (const Answers& model : models) {
    held_out.push_back(&model.held_out_log_prob);
    anomalies.push_back(&model.anomaly_log_prob);
  }
  const size_t count = drawn.samples.rows;
  for (const absl::Status& status :
       {WriteRows(folder + "/data.tsv", data.held_out, count), WriteRows(folder + "/samples.tsv", drawn.samples, count),
        WriteRows(folder + "/planted.tsv", planted, planted.rows), WriteColumns(folder + "/log_prob.tsv", held_out),
        WriteColumns(folder + "/anomalies.tsv", anomalies)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace densityd::demo
