// Rows to and from the messages of the API. Rows of float travel as float32, rows of double as float64, both as one
// block of little-endian bytes; answers are read in whatever encoding they come.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "density/v1/matrix.pb.h"
#include "densityd/rows.h"

namespace densityd::client_internal {

/// The encoding that carries every digit of T.
template <RowNumber T>
density::v1::Encoding EncodingOf();

/// Fills `message` with the rows. Precondition: rows.well_formed().
template <RowNumber T>
void Encode(RowsView<T> rows, density::v1::Matrix* message);

/// Appends the numbers of an answer's matrix to `values`. INTERNAL naming `field` where it does not have the
/// shape (rows, cols), or does not hold that many numbers.
template <RowNumber T>
absl::Status AppendMatrix(const density::v1::Matrix& message, size_t rows, size_t cols, std::string_view field,
                          std::vector<T>& values);

/// The same for a vector of `rows` numbers.
template <RowNumber T>
absl::Status AppendVector(const density::v1::Vector& message, size_t rows, std::string_view field,
                          std::vector<T>& values);

}  // namespace densityd::client_internal
