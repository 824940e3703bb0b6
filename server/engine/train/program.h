// The compiled form of a flow's training step: -log p of a tile of rows, and its gradient by every parameter.
//
// All numbers of a tile live in two tables, [column][row] with 64 rows, so that rows are SIMD lanes and weights are
// broadcast: the values of the pass from data to base, which are all kept, and the gradients of the loss by them. The
// backward pass goes through the steps from the last to the first; a step reads the gradients by what it wrote, and
// sets those by what it read, or adds to them where a later step has set them already.
//
// The parameters are one vector (layout.h), and so are their gradients and whatever else an optimiser keeps of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <variant>
#include <vector>

#include "server/engine/cpu/program.h"

namespace densityd::engine::train {

using cpu::ActivationKind;
using cpu::AffineForm;
using cpu::Column;
using cpu::kNoColumn;
using cpu::kTileRows;
using cpu::SplineForm;

/// Inputs of a weight panel.
inline constexpr size_t kPanelInputs = 16;
/// Inputs that are transposed together, for the gradient by their weights.
inline constexpr size_t kGroupInputs = 64;
/// Most units, or inputs, of a register block.
inline constexpr size_t kBlockUnits = 6;

/// A position in the vector of parameters.
using Position = uint32_t;
inline constexpr Position kNowhere = std::numeric_limits<Position>::max();

/// Neighbouring columns of the table of values, and the gradients by them in the other table.
struct Columns {
  Column value = 0;
  Column gradient = kNoColumn;  ///< none: nothing that is learnt stands before them
  uint32_t count = 0;

  bool has_gradient() const { return gradient != kNoColumn; }
};

/// Up to kBlockUnits neighbouring units, and how many inputs they see.
struct UnitChunk {
  uint32_t first = 0;
  uint32_t units = 0;
  uint32_t reach = 0;
};

/// Up to kBlockUnits neighbouring inputs of one panel, and the first unit that sees any of them.
struct InputChunk {
  uint32_t first = 0;
  uint32_t inputs = 0;
  uint32_t first_unit = 0;
};

/// Weights of a product: W[k / 16][n][16], so that the product, the one with the transpose and the gradient by W all
/// read or write neighbouring numbers. Unit n sees the inputs before reach[n], which ascends: masked networks have
/// their units sorted so. Weights beyond it are zeros, and whole blocks of them are skipped.
struct Linear {
  uint32_t units = 0;
  uint32_t inputs = 0;
  Position weights = 0;
  Position panel_step = 0;   ///< from one panel to the next
  Position bias = kNowhere;  ///< of unit 0
  std::vector<uint32_t> reach;
  std::vector<UnitChunk> unit_chunks;
  std::vector<InputChunk> input_chunks;
};

/// out = W in + b, or out += W in + b.
struct LinearStep {
  Linear linear;
  Columns in;
  Columns out;
  bool accumulates = false;
  bool relu = false;           ///< the ReLU of it
  bool input_is_relu = false;  ///< `in` left such a ReLU: the gradient that is set is that before it
  bool adds = false;           ///< the gradient by `in` is added to what is there
};

/// to = activation(from).
struct ActivateStep {
  ActivationKind activation = ActivationKind::kIdentity;
  Columns from;
  Columns to;
  bool adds = false;
};

/// to = from / keep with the probability `keep`, else 0: drawn for each row and column anew in each step.
struct DropoutStep {
  float keep = 1;
  uint32_t layer = 0;  ///< number of this step: no two draw the same
  Columns from;
  Columns to;
  bool input_is_relu = false;  ///< as in LinearStep
  bool adds = false;
};

/// Columns copied one by one.
struct CopyStep {
  struct Entry {
    Columns from;
    Columns to;
    bool adds = false;
  };
  std::vector<Entry> entries;
};

/// What a univariate map does to x, and to the row's log|det|; theta are its parameters.
enum class MapKind : uint8_t {
  kAddShift,       ///< x + t, theta = (t)
  kSubtractShift,  ///< x - t
  kScaleShift,     ///< x exp(s) + t, theta = (a, t), s follows from a as AffineForm says; + s
  kShiftScale,     ///< (x - t) exp(-s); - s
  kSpline,         ///< rational-quadratic spline of the data; theta as in server/flow
};

/// One column after the other under a univariate map.
struct MapStep {
  struct Entry {
    Columns in;
    Columns out;
    Column theta = 0;  ///< first column of the parameters
    Column theta_gradient = 0;
    Position shared_theta = kNowhere;  ///< parameters that are the same for all rows: in place of the columns
    bool adds = false;
  };
  MapKind kind = MapKind::kAddShift;
  uint32_t parameters = 0;  ///< of each entry
  float constant = 0;       ///< c of AffineForm
  AffineForm affine;
  SplineForm spline;
  std::vector<Entry> entries;
};

/// A column multiplied by a learnt number, after a learnt shift.
enum class DiagonalKind : uint8_t {
  kExp,         ///< (x - t) exp(-raw); - raw
  kBoundedExp,  ///< (x - t) exp(-s), s = c tanh(raw / c), c = log 1000; - s
  kSoftplus,    ///< x d, d = softplus(raw) + 1e-3; + log d
};

struct DiagonalStep {
  struct Entry {
    Columns in;
    Columns out;
    bool adds = false;
  };
  DiagonalKind kind = DiagonalKind::kExp;
  Position shift = kNowhere;  ///< of entry 0; nowhere for kSoftplus
  Position raw = 0;
  std::vector<Entry> entries;
};

/// out = in - 2 v (v . in) / |v|^2, with a learnt v.
struct ReflectStep {
  Columns in;
  Columns out;
  Position vector = 0;
  bool adds = false;
};

/// out = A^-1 (in - shift) with a learnt lower triangle A, row by row; its diagonal is softplus(raw) + 1e-3. - log|det
/// A|
struct SolveStep {
  Columns in;
  Columns out;
  Position lower = 0;
  Position shift = 0;
  bool adds = false;
};

using Step =
    std::variant<LinearStep, ActivateStep, DropoutStep, CopyStep, MapStep, DiagonalStep, ReflectStep, SolveStep>;

/// A base of independent t distributions with nu degrees: 1 + softplus(raw) where they are learnt.
struct StudentBase {
  Position raw = kNowhere;  ///< of column 0; nowhere: fixed
  double degrees = 0;       ///< fixed ones
};

/// The steps of -log p.
struct Program {
  std::vector<Step> steps;
  std::vector<Columns> input;          ///< the columns of the data, then those of the context
  std::vector<Columns> base;           ///< z
  std::optional<StudentBase> student;  ///< none: the base is a standard normal distribution
  size_t value_columns = 0;            ///< of the table, padding included
  size_t gradient_columns = 0;
  uint32_t dropouts = 0;
  double log_abs_det = 0;      ///< the part that depends on nothing, nats
  uint64_t multiply_adds = 0;  ///< of one row's forward pass, without the zeros of masks
};

}  // namespace densityd::engine::train
