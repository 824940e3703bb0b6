// How a client connects, waits and retries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "densityd/rows.h"

namespace densityd {

/// Transport security. Every text is PEM.
struct TlsOptions {
  std::string root_certificates = {};   ///< who may sign the server's certificate; empty: the system's trust store
  std::string client_certificate = {};  ///< for servers that ask for one (mutual TLS); needs client_key
  std::string client_key = {};
  std::string server_name = {};  ///< name expected in the server's certificate, where it is not the host of the address
};

/// When and how often a failed call is repeated.
///
/// Repeated are UNAVAILABLE, CANCELLED (a call that reached a server as it ended), and RESOURCE_EXHAUSTED where the
/// server says when to come back (RetryInfo); the wait is then at least what the server asked for. Calls that would do
/// something twice (upload, deletion, cancellation, a compare-and-set) are never repeated once sent: for them the
/// policy only bounds the wait for a connection.
struct RetryPolicy {
  int max_attempts = 6;  ///< the first one included; 1: never repeat
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
  double multiplier = 2;                      ///< growth of the back-off from one attempt to the next
  double jitter = 0.5;                        ///< each wait is shortened by a random share of up to this much
  absl::Duration budget = absl::Seconds(20);  ///< no repetition starts later than this after the first failure
  /// Repetitions of all calls of a client together: of its calls this share, and so many per second beside; what it
  /// does not use it saves up for ten seconds. A call that finds none left waits for one, within its own budget, so
  /// that clients do not overrun a server that comes back. Not counted is what a server asked for by RetryInfo.
  double max_share = 0.2;
  double least_per_second = 10;
  /// In place of max_attempts and budget, for a Watch that has seen its training: how long a server may take to come
  /// back.
  absl::Duration watch_budget = absl::Minutes(10);
};

/// Whether a row call that takes unusually long is sent a second time, on a connection of its own: the first good
/// answer counts, and the other attempt is cancelled. A stall of one server, or of one connection, then costs `delay`
/// instead of all that it lasts. For LogProb, Inverse, Forward, Score, Sample and Explain, which are safe to send
/// twice; a request without a seed may be answered by either sample. A second attempt counts as one of
/// RetryPolicy::max_attempts, and begins within its budget.
struct HedgePolicy {
  /// Without an answer for this long; good is what one call in twenty takes longer than. Infinite: never.
  absl::Duration delay = absl::InfiniteDuration();
  /// Of all calls at most about this share is sent twice, so that a server that is slow because it has too much to do
  /// is not sent as much again.
  double max_share = 0.05;
};

/// Whether somebody waits for the rows.
enum class Priority {
  kInteractive,
  kBatch,  ///< they are computed when no interactive rows wait, or have waited for a second and get a tenth of the time
};

/// Options of a client.
struct ClientOptions {
  /// host:port, dns:///host:port, ipv4:HOST:PORT,HOST:PORT… or unix:PATH. Where it stands for several servers, calls
  /// are spread over all that can be reached.
  std::string address = "127.0.0.1:50051";
  absl::Duration timeout = absl::Seconds(60);  ///< of a whole call, repetitions and chunks included
  RetryPolicy retry = {};
  HedgePolicy hedge = {};
  std::optional<TlsOptions> tls = std::nullopt;  ///< unset: plain text
  /// Bearer token that says who calls, for servers with --auth-file; empty: none. Without TLS it is sent to this
  /// machine only (127.0.0.0/8, ::1, localhost, unix sockets).
  std::string token = {};
  Priority priority = Priority::kInteractive;   ///< of the rows of all calls
  bool insecure_token_over_plain_text = false;  ///< send the token without TLS to other machines, too
  /// Largest message sent or received. At most the server's --max-message-bytes; larger inputs and outputs are split.
  size_t max_message_bytes = size_t{64} << 20;
  /// Most rows in one request. At most the server's --max-request-rows; larger inputs and outputs are split.
  size_t max_request_rows = size_t{1} << 16;
  /// A ping on a connection that was silent for this long while calls are open, so that a dead one is noticed.
  absl::Duration keepalive = absl::Minutes(1);
  absl::Duration keepalive_timeout = absl::Seconds(20);  ///< without an answer to it the connection is given up
};

/// Options of any call.
struct CallOptions {
  std::optional<absl::Duration> timeout = std::nullopt;  ///< unset: ClientOptions::timeout (Watch: none)
};

/// Precision in which the server computes, whatever type the rows have.
enum class Precision { kFloat32, kFloat64 };

/// Options of LogProb.
template <RowNumber T>
struct LogProbOptions {
  RowsView<T> context = {};       ///< (N, C), or (1, C) for all rows; for models with context
  bool tail_probability = false;  ///< also say where each row falls in the model's own calibration
  bool standard_error = false;    ///< also say how far log p may be off where the model estimates it; 8 times as costly
  Precision precision = Precision::kFloat32;
  bool accept_non_finite = false;  ///< NaN for rows with NaN or infinities in them, instead of INVALID_ARGUMENT for all
  bool refuse_outside_support = false;  ///< INVALID_ARGUMENT where a row's density is zero, instead of -infinity
  std::optional<absl::Duration> timeout = std::nullopt;  ///< unset: ClientOptions::timeout
};

/// Options of Inverse, Forward and Score.
template <RowNumber T>
struct MapOptions {
  RowsView<T> context = {};  ///< (N, C), or (1, C) for all rows; for models with context
  Precision precision = Precision::kFloat32;
  std::optional<absl::Duration> timeout = std::nullopt;  ///< unset: ClientOptions::timeout
};

/// Options of Explain.
template <RowNumber T>
struct ExplainOptions {
  RowsView<T> context = {};            ///< (N, C), or (1, C) for all rows; for models with context
  std::vector<uint32_t> columns = {};  ///< columns to explain, each < D; empty: all
  bool chain_rule = false;             ///< also split -log p(x) by the chain rule, where the model has an order
  Precision precision = Precision::kFloat32;
  std::optional<absl::Duration> timeout = std::nullopt;  ///< unset: ClientOptions::timeout
};

/// Options of Sample.
template <RowNumber T>
struct SampleOptions {
  std::optional<uint64_t> seed =
      std::nullopt;          ///< the same seed gives the same rows; unset: drawn by the server and returned
  uint64_t row_offset = 0;   ///< index of the first row in the endless sample that `seed` names
  RowsView<T> context = {};  ///< (N, C), or (1, C) for all rows; for models with context
  bool log_prob = false;     ///< also return log p of each row
  uint64_t chunk_rows = 0;   ///< StreamSample: rows of a chunk; 0: some thousand, as many as fit a message
  Precision precision = Precision::kFloat32;
  std::optional<absl::Duration> timeout = std::nullopt;  ///< unset: ClientOptions::timeout
};

/// Options of an upload.
struct UploadOptions {
  std::string display_name = {};                         ///< for people; at most 128 bytes
  std::vector<std::string> columns = {};                 ///< one name per column; empty: "0", "1", …
  std::vector<std::string> missing_columns = {};         ///< those that may hold NaN: context that may be missing
  std::optional<absl::Duration> timeout = std::nullopt;  ///< of the whole upload; unset: none
};

}  // namespace densityd
