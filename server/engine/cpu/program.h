// The compiled form of a flow's map: a list of steps over the columns of a tile of rows.
//
// All numbers of a tile live in one table of `columns` x rows: the data, the context, hidden units and parameters each
// are a column, and a step names the columns that it reads and writes. Two layouts hold the same table:
//
//   tile   [column][row], 64 rows apart    rows are SIMD lanes, weights are broadcast
//   rows   [row][column], up to 8 rows     units are SIMD lanes, for requests too small to fill a tile
//
// A program is made for one of them. Both do the same arithmetic per number, in the same order: the layout never shows
// in the bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace densityd::engine::cpu {

/// Rows of a tile.
inline constexpr size_t kTileRows = 64;
/// Most rows that are computed with units as lanes.
inline constexpr size_t kMaxFewRows = 8;
/// Units of a weight panel: with 4 vectors of rows it fills 24 of 32 vector registers, with 2 vectors 12 of 16.
inline constexpr size_t kPanelUnits = 6;
/// Most units of a weight strip: 8 vectors of 16 lanes, or 16 of 8.
inline constexpr size_t kStripUnits = 128;
/// Most bins of a spline, and most parameters of a univariate map.
inline constexpr size_t kMaxSplineBins = 64;
inline constexpr size_t kMaxMapParameters = 3 * kMaxSplineBins - 1;
/// The row layout writes whole lines: a step's last column is followed by room up to a multiple of this.
inline constexpr size_t kColumnPadding = 16;

using Column = uint32_t;
inline constexpr Column kNoColumn = std::numeric_limits<Column>::max();

enum class Layout : uint8_t { kTile, kRows };

enum class ActivationKind : uint8_t { kIdentity, kRelu, kTanh, kGelu, kSilu, kLeakyRelu, kElu };

/// Weights of up to kPanelUnits neighbouring units for the tile layout, stored [depth][units]; k starts at
/// `first_input`.
struct Panel {
  uint32_t first_unit = 0;  ///< counted from the step's first unit
  uint32_t units = 0;
  uint32_t first_input = 0;
  uint32_t depth = 0;
  size_t weights = 0;  ///< in the arena
};

/// Weights of up to kStripUnits neighbouring units for the row layout, stored [depth][width]; `width` is `units`
/// rounded up to whole lines, padded with zeros.
struct Strip {
  uint32_t first_unit = 0;  ///< counted from the step's first unit
  uint32_t units = 0;
  uint32_t width = 0;
  uint32_t first_input = 0;
  uint32_t depth = 0;
  size_t weights = 0;
};

/// output = activation(bias + W input), or activation(output + W input) where `accumulate`.
/// Every output has one accumulator, k ascending, one fused multiply-add per weight.
struct DenseStep {
  Column input = 0;   ///< column of input 0
  Column output = 0;  ///< column of unit 0
  uint32_t first_panel = 0;
  uint32_t panel_count = 0;  ///< 0 in the row layout
  uint32_t first_strip = 0;
  uint32_t strip_count = 0;  ///< 0 in the tile layout
  size_t bias = 0;           ///< in the arena
  bool accumulate = false;
  /// The input is often exactly zero (it left a ReLU): one row is computed from the others alone.
  bool sparse_input = false;
  ActivationKind activation = ActivationKind::kIdentity;
  /// Units, from the first on, that the activation is applied to; in the tile layout it is all or none.
  uint32_t activated = 0;
};

/// to = activation(from) for `count` columns.
struct ActivateStep {
  Column from = 0;
  Column to = 0;
  uint32_t count = 0;
  ActivationKind activation = ActivationKind::kIdentity;
};

/// to += from for `count` columns.
struct AddStep {
  Column from = 0;
  Column to = 0;
  uint32_t count = 0;
};

/// One column copied.
struct ColumnCopy {
  Column from = 0;
  Column to = 0;
};

/// Entries of Program::copies, in order.
struct CopyStep {
  uint32_t first = 0;
  uint32_t count = 0;
};

/// What a univariate map does to x, and to the row's log|det|. theta are the parameters of an entry, c is the step's
/// constant.
enum class MapKind : uint8_t {
  kLinear,         ///< (x - center) * factor + offset; log|det| is counted as a constant
  kShiftForward,   ///< x + t, theta = (t)
  kShiftInverse,   ///< x - t
  kAffineForward,  ///< x exp(s) + t, theta = (a, t), s follows from a as AffineForm says; + s
  kAffineInverse,  ///< (x - t) exp(-s); - s
  kSplineForward,  ///< rational-quadratic spline; theta as in server/flow, but see SplineForm
  kSplineInverse,
  kExp,
  kLog,
  kSigmoid,  ///< (sigmoid(x) - alpha) / (1 - 2 alpha)
  kLogit,    ///< logit(alpha + (1 - 2 alpha) x)
  kSoftplus,
  kSoftplusInverse,
  kTanh,
  kAtanh,
  kLeakyRelu,         ///< x, or slope x below zero
  kNormalLogDensity,  ///< x, unchanged; - c / 2 ((x - center) * factor)^2
};

/// One column under a univariate map.
struct MapEntry {
  Column in = 0;
  Column out = 0;
  Column copy = kNoColumn;  ///< a second place for the result
  Column parameters = 0;    ///< the first of its parameters, which stand next to each other
  float center = 0;         ///< kLinear, kNormalLogDensity
  float factor = 1;
  float offset = 0;
};

/// How the log-scale s of an affine map follows from its parameter a (flow_spec.proto has the names).
enum class ScaleKind : uint8_t {
  kTanh,      ///< c tanh(a / c)
  kSoftClip,  ///< a / (1 + |a| / c)
  kExp,       ///< a
  kSoftplus,  ///< log(smallest + softplus(a + offset))
  kSigmoid,   ///< log(smallest + range sigmoid(a + offset))
};

/// Constants of an affine map, besides c.
struct AffineForm {
  ScaleKind scale = ScaleKind::kTanh;
  bool is_reciprocal = false;  ///< -s takes the place of s
  float smallest = 0;
  float range = 0;
  float log_range = 0;
  float offset = 0;
};

/// Constants of a rational-quadratic spline on [-bound, bound]. Parameters of widths and heights are logarithms to base
/// 2, and so are those of slopes where `soft_clip`.
struct SplineForm {
  bool soft_clip = false;  ///< each parameter a is limited to a / (1 + |a| / c)
  float bound = 3;
  float min_width = 0.006f;  ///< of a bin
  float min_height = 0.006f;
  float min_slope = 0.001f;           ///< of a knot: min_slope + softplus(theta + slope_offset), or 2^theta if clipped
  float slope_offset = 0.539742417f;  ///< theta 0 gives slope 1
  float per_size_clip = 0;            ///< 1 / c for widths and heights
  float per_slope_clip = 0;           ///< 1 / c for slopes
};

/// Entries of Program::entries, in order; the row's log|det| is summed in that order.
struct MapStep {
  MapKind kind = MapKind::kLinear;
  uint32_t first = 0;
  uint32_t count = 0;
  float constant = 0;       ///< c, alpha, slope or sign
  uint32_t parameters = 0;  ///< of each entry
  AffineForm affine;
  SplineForm spline;
};

using Step = std::variant<DenseStep, ActivateStep, AddStep, CopyStep, MapStep>;

/// y = (x - center) * factor on the way in, y = x * factor + center on the way out: in float64, so that data far from
/// zero keeps its digits.
struct EdgeAffine {
  double center = 0;
  double factor = 1;
};

/// A layer that steps were made of, for people: they go from `first_step` to the next layer's.
struct ProgramLayer {
  size_t first_step = 0;
  std::string kind;
  std::string shape;
  uint64_t dense_multiply_adds = 0;  ///< one pass through its matrices without masks, per row
};

/// Steps, and the lists that they refer to. Offsets of weights are into the plan's arena.
struct Program {
  std::vector<Step> steps;
  std::vector<Panel> panels;
  std::vector<Strip> strips;
  std::vector<ColumnCopy> copies;
  std::vector<MapEntry> entries;
  std::vector<ProgramLayer> layers;
  std::vector<Column> input;               ///< where column j of the input goes: neighbours
  std::vector<Column> output;              ///< where column j of the output is found
  Column context = 0;                      ///< column of context 0
  std::vector<EdgeAffine> input_affine;    ///< per column of the input; empty: none
  std::vector<EdgeAffine> output_affine;   ///< per column of the output; empty: none
  std::vector<EdgeAffine> context_affine;  ///< per column of the context; empty: none
  size_t columns = 0;                      ///< size of the table, padding included
  double log_abs_det = 0;                  ///< the part that does not depend on the row, nats
};

}  // namespace densityd::engine::cpu
