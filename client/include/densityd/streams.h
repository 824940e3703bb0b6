// Rows without end: samples that are read as they are drawn, densities of rows as they come. Memory is constant.
//
//   auto sample = client.StreamSample<float>("power", 1'000'000'000, {.seed = 7});
//   if (!sample.ok()) return sample.status();
//   densityd::SampleResult<float> chunk;
//   while (true) {
//     const absl::StatusOr<bool> more = sample->Next(chunk);
//     if (!more.ok()) return more.status();
//     if (!*more) break;
//     Use(chunk.rows);
//   }
//
//   auto stream = client.StreamLogProb<float>("power", [&](const densityd::LogProbResult<float>& answer) {
//     Use(answer.log_prob);
//     return absl::OkStatus();
//   });
//   if (!stream.ok()) return stream.status();
//   while (ReadRows(rows)) {
//     if (absl::Status status = stream->Send({rows, 6}); !status.ok()) return status;
//   }
//   absl::StatusOr<densityd::ModelVersion> model = stream->Finish();
//
// Neither runs ahead: the server computes no further than a chunk or two beyond what is read here. A connection that is
// lost, or a server that stops, is replaced as the RetryPolicy says, and the stream goes on where it was, on the same
// version: rows are neither lost nor repeated.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "densityd/results.h"
#include "densityd/rows.h"

namespace densityd {

class Client;

/// A sample on its way, see Client::StreamSample. Not thread-safe. Destruction before the end cancels it.
template <RowNumber T>
class SampleStream {
 public:
  SampleStream(SampleStream&&) noexcept;
  SampleStream& operator=(SampleStream&&) noexcept;
  ~SampleStream();

  /// Reads the next rows into `chunk`, whose memory is used again; blocks until they are there. False at the end, when
  /// `chunk` is as it was. An error ends the stream; further calls return it again.
  absl::StatusOr<bool> Next(SampleResult<T>& chunk);

 private:
  friend class Client;
  struct Impl;
  explicit SampleStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Takes the answer to the next rows that were sent, (n); an error ends the stream with that error.
template <RowNumber T>
using OnLogProb = std::function<absl::Status(const LogProbResult<T>&)>;

/// Rows on their way to their densities, see Client::StreamLogProb. Not thread-safe. Destruction before Finish cancels
/// it.
template <RowNumber T>
class LogProbStream {
 public:
  LogProbStream(LogProbStream&&) noexcept;
  LogProbStream& operator=(LogProbStream&&) noexcept;
  ~LogProbStream();

  /// Sends rows (n, D), with their context (n, C), or (1, C) for all of them, where the options gave none. Large pieces
  /// are cut, small ones are sent as they are: pieces of some thousand rows are best. Delivers the answers that are
  /// due, in order and on this thread; blocks while two pieces are not answered. An error ends the stream; further
  /// calls return it again.
  absl::Status Send(RowsView<T> rows, RowsView<T> context = {});
  /// Delivers the remaining answers, and returns the version that answered. Call once.
  absl::StatusOr<ModelVersion> Finish();

 private:
  friend class Client;
  struct Impl;
  explicit LogProbStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace densityd
