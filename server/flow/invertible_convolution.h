// Glow's mixing of channels.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/linear_transforms.h"

namespace densityd::flow {

/// z = P L U x at every pixel, x the channels there (Kingma & Dhariwal 2018, equation 10). log|det| = H W log|det U|.
/// Registers `lu` (channels, channels), LuFactors. Starts at P.
class InvertibleConvolution final : public Transform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  InvertibleConvolution(const density::v1::InvertibleConvolution& spec, const RowShape& shape);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;

 private:
  // (N, D) -> (channels, N * pixels), and back.
  Tensor Channels(const Tensor& rows) const;
  Tensor Rows(const Tensor& channels) const;

  const int64_t pixels_;
  LuFactors factors_;
  Tensor order_;  // of P: channel j of z is channel order[j] of L U x
  Tensor inverse_order_;
};

}  // namespace densityd::flow
