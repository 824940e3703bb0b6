// What works on whole rows: reflections, triangular solves, and the loss. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_TRAIN_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_TRAIN_ROWS_INL_H_
#undef DENSITYD_ENGINE_TRAIN_ROWS_INL_H_
#else
#define DENSITYD_ENGINE_TRAIN_ROWS_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "hwy/highway.h"
#include "server/engine/cpu/math-inl.h"
#include "server/engine/cpu/vectors-inl.h"
#include "server/engine/train/maps-inl.h"
#include "server/engine/train/program.h"
#include "server/engine/train/shard.h"
#include "server/engine/train/student_norm.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

/// |v|^2 of a reflection, as server/flow/rotations.cc has it: zeros reflect nothing.
HWY_INLINE float SquareOf(const float* vector, size_t count) {
  float square = 0;
  for (size_t i = 0; i < count; ++i) square += vector[i] * vector[i];
  return std::max(square, 1e-30f);
}

/// 2 v . x / |v|^2 of each row.
HWY_INLINE FloatVector ReflectedShare(const float* vector, size_t count, float square, const float* columns) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  for (size_t i = 0; i < count; ++i) {
    sum = hn::MulAdd(Constant(vector[i]), hn::Load(d, columns + i * kTileRows), sum);
  }
  return hn::Mul(sum, Constant(2 / square));
}

HWY_INLINE void ReflectForward(const ReflectStep& step, const float* parameters, const Tile& tile) {
  const FloatTag d;
  const size_t count = step.in.count;
  const float* vector = parameters + step.vector;
  const float square = SquareOf(vector, count);
  for (size_t r = 0; r < kTileRows; r += kLanes) {
    const float* x = tile.values + step.in.value * kTileRows + r;
    float* y = tile.values + step.out.value * kTileRows + r;
    const FloatVector share = ReflectedShare(vector, count, square, x);
    for (size_t i = 0; i < count; ++i) {
      hn::Store(hn::NegMulAdd(share, Constant(vector[i]), hn::Load(d, x + i * kTileRows)), d, y + i * kTileRows);
    }
  }
}

/// With a = 2 v . x / |v|^2 and b = 2 v . g / |v|^2: the gradient by x is that of y, reflected, and by v
///   a b v - a g - b x, summed over the rows.
HWY_INLINE void ReflectBackward(const ReflectStep& step, const float* parameters, const Shard& shard, float* gradient) {
  const FloatTag d;
  const size_t count = step.in.count;
  const float* vector = parameters + step.vector;
  const float square = SquareOf(vector, count);
  for (size_t t = 0; t < shard.tiles.size(); ++t) {
    const Tile& tile = shard.tiles[t];
    FloatVector a[kTileRows / kLanes];
    FloatVector b[kTileRows / kLanes];
    for (size_t v = 0; v < kTileRows / kLanes; ++v) {
      const size_t r = v * kLanes;
      a[v] = ReflectedShare(vector, count, square, tile.values + step.in.value * kTileRows + r);
      b[v] = ReflectedShare(vector, count, square, tile.gradients + step.out.gradient * kTileRows + r);
    }
    for (size_t i = 0; i < count; ++i) {
      FloatVector sum = hn::Zero(d);
      for (size_t v = 0; v < kTileRows / kLanes; ++v) {
        const size_t r = v * kLanes;
        const FloatVector x = hn::Load(d, tile.values + (step.in.value + i) * kTileRows + r);
        const FloatVector by_y = hn::Load(d, tile.gradients + (step.out.gradient + i) * kTileRows + r);
        const FloatVector by_x = hn::NegMulAdd(b[v], Constant(vector[i]), by_y);
        // a b v - a g - b x.
        sum = hn::NegMulAdd(a[v], by_x, hn::NegMulAdd(b[v], x, sum));
        if (step.in.has_gradient()) {
          Accumulate(by_x, step.adds, tile.gradients + (step.in.gradient + i) * kTileRows + r);
        }
      }
      SetSum(sum, shard.adds || t > 0, gradient[step.vector + i]);
    }
  }
}

/// Where row i of a packed lower triangle begins.
HWY_INLINE size_t TriangleRow(size_t i) { return i * (i + 1) / 2; }

/// The diagonal of a solve, what it adds to log|det|, and d diagonal / d raw.
struct SolveDiagonal {
  float inverse;
  float log;
  float slope;
};

HWY_INLINE SolveDiagonal DiagonalOf(const SolveStep& step, const float* parameters, size_t i) {
  const double raw = parameters[step.lower + TriangleRow(i) + i];
  const double diagonal = std::max(raw, 0.0) + std::log1p(std::exp(-std::abs(raw))) + 1e-3;
  return {static_cast<float>(1 / diagonal), static_cast<float>(-std::log(diagonal)),
          static_cast<float>(1 / (1 + std::exp(-raw)))};
}

HWY_INLINE void SolveForward(const SolveStep& step, const float* parameters, const Tile& tile) {
  const FloatTag d;
  constexpr size_t kVectors = kTileRows / kLanes;
  const float* x = tile.values + step.in.value * kTileRows;
  float* z = tile.values + step.out.value * kTileRows;
  float log = 0;
  for (size_t i = 0; i < step.in.count; ++i) {
    const float* row = parameters + step.lower + TriangleRow(i);
    const SolveDiagonal diagonal = DiagonalOf(step, parameters, i);
    log += diagonal.log;
    FloatVector sums[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      sums[v] = hn::Sub(hn::Load(d, x + i * kTileRows + v * kLanes), Constant(parameters[step.shift + i]));
    }
    for (size_t j = 0; j < i; ++j) {
      for (size_t v = 0; v < kVectors; ++v) {
        sums[v] = hn::NegMulAdd(Constant(row[j]), hn::Load(d, z + j * kTileRows + v * kLanes), sums[v]);
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      hn::Store(hn::Mul(sums[v], Constant(diagonal.inverse)), d, z + i * kTileRows + v * kLanes);
    }
  }
  for (size_t r = 0; r < kTileRows; r += kLanes) {
    hn::Store(hn::Add(hn::Load(d, tile.log + r), Constant(log)), d, tile.log + r);
  }
}

/// The gradient by x is A^-T times that by z, which it replaces on the way; by the shift it is its negative, by A
/// -(that by x) z^T, and by a diagonal number what the row's log|det| adds.
HWY_INLINE void SolveBackward(const SolveStep& step, const float* parameters, const Shard& shard, float* gradient) {
  const FloatTag d;
  constexpr size_t kVectors = kTileRows / kLanes;
  const size_t count = step.in.count;
  for (const Tile& tile : shard.tiles) {
    float* by_z = tile.gradients + step.out.gradient * kTileRows;
    for (size_t i = count; i-- > 0;) {
      FloatVector sums[kVectors];
      for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Load(d, by_z + i * kTileRows + v * kLanes);
      for (size_t j = i + 1; j < count; ++j) {
        const FloatVector number = Constant(parameters[step.lower + TriangleRow(j) + i]);
        for (size_t v = 0; v < kVectors; ++v) {
          sums[v] = hn::NegMulAdd(number, hn::Load(d, by_z + j * kTileRows + v * kLanes), sums[v]);
        }
      }
      const FloatVector inverse = Constant(DiagonalOf(step, parameters, i).inverse);
      for (size_t v = 0; v < kVectors; ++v) {
        const FloatVector by_x = hn::Mul(sums[v], inverse);
        hn::Store(by_x, d, by_z + i * kTileRows + v * kLanes);
        if (step.in.has_gradient()) {
          Accumulate(by_x, step.adds, tile.gradients + (step.in.gradient + i) * kTileRows + v * kLanes);
        }
      }
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const SolveDiagonal diagonal = DiagonalOf(step, parameters, i);
    float* of_row = gradient + step.lower + TriangleRow(i);
    for (size_t j = 0; j <= i; ++j) {
      FloatVector sum = hn::Zero(d);
      for (const Tile& tile : shard.tiles) {
        const float* by_x = tile.gradients + (step.out.gradient + i) * kTileRows;
        const float* z = tile.values + (step.out.value + j) * kTileRows;
        for (size_t r = 0; r < kTileRows; r += kLanes) {
          sum = hn::NegMulAdd(hn::Load(d, by_x + r), hn::Load(d, z + r), sum);
          if (j == i) sum = hn::MulAdd(hn::Load(d, tile.weights + r), Constant(diagonal.inverse), sum);
        }
      }
      SetSum(j == i ? hn::Mul(sum, Constant(diagonal.slope)) : sum, shard.adds, of_row[j]);
    }
    FloatVector by_shift = hn::Zero(d);
    for (const Tile& tile : shard.tiles) {
      const float* by_x = tile.gradients + (step.out.gradient + i) * kTileRows;
      for (size_t r = 0; r < kTileRows; r += kLanes) by_shift = hn::Sub(by_shift, hn::Load(d, by_x + r));
    }
    SetSum(by_shift, shard.adds, gradient[step.shift + i]);
  }
}

/// The loss of a tile under a standard normal base, and the gradient by z.
HWY_INLINE double NormalLoss(const Program& program, const Tile& tile) {
  const FloatTag d;
  double loss = 0;
  HWY_ALIGN float losses[kLanes];
  for (size_t r = 0; r < kTileRows; r += kLanes) {
    const FloatVector weight = hn::Load(d, tile.weights + r);
    FloatVector squares = hn::Zero(d);
    for (const Columns& column : program.base) {
      const FloatVector z = hn::Load(d, tile.values + column.value * kTileRows + r);
      squares = hn::MulAdd(z, z, squares);
      if (column.has_gradient()) hn::Store(hn::Mul(weight, z), d, tile.gradients + column.gradient * kTileRows + r);
    }
    const FloatVector row = hn::MulSub(Constant(0.5f), squares, hn::Load(d, tile.log + r));
    hn::Store(hn::Mul(weight, row), d, losses);
    for (size_t lane = 0; lane < kLanes; ++lane) loss += losses[lane];
  }
  return loss;
}

/// log(1 + x) for x >= 0.
HWY_INLINE FloatVector Log1p(FloatVector x) {
  const FloatVector one = Constant(1);
  const FloatVector sum = hn::Add(one, x);
  // What the sum lost of x. Where x is infinite, so is the logarithm.
  const FloatVector lost = hn::Sub(x, hn::Sub(sum, one));
  const FloatVector log = math::Log(FloatTag(), sum);
  return hn::IfThenElse(hn::Lt(x, Constant(1e8f)), hn::Add(log, hn::Div(lost, sum)), log);
}

/// The loss under Student's t, with nu degrees: (nu + 1) / 2 log(1 + z^2 / nu) - log p(0) for each column; and the
/// gradients by z and by the raw degrees.
HWY_INLINE double StudentLoss(const Program& program, const float* parameters, const Shard& shard, float* gradient) {
  const FloatTag d;
  double loss = 0;
  double weights = 0;
  for (const Tile& tile : shard.tiles) {
    for (size_t r = 0; r < kTileRows; ++r) {
      weights += tile.weights[r];
      loss -= tile.weights[r] * tile.log[r];
    }
  }
  const StudentBase& base = *program.student;
  for (size_t i = 0; i < program.base.size(); ++i) {
    const Columns& column = program.base[i];
    const double raw = base.raw == kNowhere ? 0 : parameters[base.raw + i];
    const double degrees =
        base.raw == kNowhere ? base.degrees : 1 + std::max(raw, 0.0) + std::log1p(std::exp(-std::abs(raw)));
    const StudentNorm norm = StudentNormOf(degrees);
    const FloatVector nu = Constant(static_cast<float>(degrees));
    const FloatVector factor = Constant(static_cast<float>(degrees + 1));
    FloatVector logs = hn::Zero(d);
    FloatVector by_degrees = hn::Zero(d);
    for (const Tile& tile : shard.tiles) {
      for (size_t r = 0; r < kTileRows; r += kLanes) {
        const FloatVector weight = hn::Load(d, tile.weights + r);
        const FloatVector z = hn::Load(d, tile.values + column.value * kTileRows + r);
        const FloatVector square = hn::Div(hn::Mul(z, z), nu);
        const FloatVector log = hn::Mul(weight, Log1p(square));
        const FloatVector per =
            hn::Div(hn::Mul(weight, factor), hn::MulAdd(square, nu, nu));  // w (nu + 1) / (nu + z^2)
        logs = hn::Add(logs, log);
        by_degrees = hn::Add(by_degrees, hn::NegMulAdd(per, square, log));
        if (column.has_gradient()) hn::Store(hn::Mul(per, z), d, tile.gradients + column.gradient * kTileRows + r);
      }
    }
    loss += 0.5 * (degrees + 1) * hn::GetLane(hn::SumOfLanes(d, logs)) - weights * norm.log;
    if (base.raw == kNowhere) continue;
    const double sum = 0.5 * hn::GetLane(hn::SumOfLanes(d, by_degrees)) - weights * norm.slope;
    float& to = gradient[base.raw + i];
    to = (shard.adds ? to : 0) + static_cast<float>(sum / (1 + std::exp(-raw)));
  }
  return loss;
}

/// The loss of all tiles, and its gradients by z and by what the base learns.
HWY_INLINE double BaseLoss(const Program& program, const float* parameters, const Shard& shard, float* gradient) {
  if (program.student.has_value()) return StudentLoss(program, parameters, shard, gradient);
  double loss = 0;
  for (const Tile& tile : shard.tiles) loss += NormalLoss(program, tile);
  return loss;
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_ROWS_INL_H_
