// density.v1.Matrix and Vector in row RPCs: numbers are checked where they are and written where they go.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/matrix.pb.h"
#include "server/base/matrix.h"

namespace densityd::rpc {

/// Whether the message says nothing: no shape and no numbers.
bool IsAbsent(const density::v1::Matrix& matrix);

/// The numbers of `matrix` in place, with at least one row and one column; otherwise as densityd::ViewMatrix.
absl::StatusOr<ConstMatrix> ViewRows(std::string_view field, const density::v1::Matrix& matrix);

/// How a matrix that is not absent is encoded.
density::v1::Encoding EncodingOf(const density::v1::Matrix& matrix);

/// Checks that every number is finite in `precision`: a float64 number beyond float32's range is refused for a float32
/// computation. INVALID_ARGUMENT naming `field`, the first bad row and its first bad column.
absl::Status CheckFinite(std::string_view field, const ConstMatrix& numbers, NumberType precision);

/// The rows that CheckFinite would refuse, ascending.
std::vector<size_t> NonFiniteRows(const ConstMatrix& numbers, NumberType precision);

/// Checks `encoding`, and turns ENCODING_UNSPECIFIED into `unspecified`. INVALID_ARGUMENT for an unknown value.
absl::StatusOr<density::v1::Encoding> ResolveEncoding(std::string_view field, density::v1::Encoding encoding,
                                                      density::v1::Encoding unspecified);

/// Checks `precision`. INVALID_ARGUMENT for an unknown value.
absl::StatusOr<NumberType> ResolvePrecision(std::string_view field, density::v1::Precision precision);

/// Bytes of one number.
uint64_t EncodedBytes(density::v1::Encoding encoding);

/// Makes room for (rows, cols) numbers in an empty `matrix` and returns it for writing. Valid until the message
/// changes. The content is undefined or zero.
MutableMatrix Allocate(density::v1::Encoding encoding, size_t rows, size_t cols, density::v1::Matrix& matrix);
/// The same for (rows) numbers, viewed as (rows, 1).
MutableMatrix Allocate(density::v1::Encoding encoding, size_t rows, density::v1::Vector& vector);

/// Reads a column (N, 1) as float64 into `values`, which is resized.
void ReadColumn(const MutableMatrix& column, std::vector<double>& values);
/// Writes N numbers into a column (N, 1).
void WriteColumn(const std::vector<double>& values, const MutableMatrix& column);

}  // namespace densityd::rpc
