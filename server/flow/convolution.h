// Networks of convolutions, for images.
#pragma once

#include <cstdint>
#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"
#include "server/flow/conditioner.h"
#include "server/flow/linear_layer.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {

/// What a conditioner of an image sees and computes.
struct Pixels {
  RowShape shape;
  Columns inputs;
  Columns outputs;
  int64_t parameters = 1;  ///< numbers for each of `outputs`
};

/// Residual network of convolutions (flow_spec.proto, ConvResNet) over the channels that hold any of the inputs, in
/// which pixels that are no inputs are zero, and then the context, the same at every pixel. Channel o * parameters + p
/// of its output is parameter p of the o-th of the channels that hold any of the outputs. Borders are padded with
/// zeros. Registers `input`, `blocks.<b>.0`, `blocks.<b>.1` and `output`, each with `weight` (outputs, inputs * 9), row
/// by row the 3 x 3 numbers of each input, or (outputs, inputs) for `blocks.<b>.1`, and `bias`. Precondition: `spec` is
/// checked and has its defaults.
std::shared_ptr<Conditioner> MakeConvConditioner(const density::v1::ConvResNet& spec, const Pixels& pixels,
                                                 int64_t context_features, Initializer& initializer);

}  // namespace densityd::flow
