#include "server/engine/train/lower_network.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/cpu/lower_network.h"

namespace densityd::engine::train {
namespace {

using density::v1::Conditioner;

// Adds layer after layer.
class NetworkSteps {
 public:
  NetworkSteps(const NetworkPlace& place, ActivationKind activation, Builder& builder)
      : place_(place), activation_(activation), builder_(builder), side_(place.inputs), at_(place.input) {}

  // at <- act(W at + b), or without the activation.
  void Layer(const std::string& name, Side outputs, bool activates) {
    const bool relu = activates && activation_ == ActivationKind::kRelu;
    LinearStep step{MakeLinear(name, outputs), at_, {}};
    step.out = NewColumns(step.linear.units);
    step.relu = relu;
    step.input_is_relu = is_relu_;
    at_ = step.out;
    side_ = std::move(outputs);
    is_relu_ = relu;
    builder_.AddStep(std::move(step));
    if (activates && !relu) Activate();
  }

  // h <- h + W2 dropout(act(W1 act(h))), as server/flow/conditioner.cc has it.
  void Block(const std::string& name, double dropout) {
    const Columns before = at_;
    const Side side = side_;
    Activate();
    Layer(name + ".0", side, /*activates=*/true);
    if (dropout > 0) DropOut(dropout);
    CopyStep copy;
    const Columns sum = NewColumns(before.count);
    copy.entries.push_back({before, sum});
    builder_.AddStep(std::move(copy));
    LinearStep step{MakeLinear(name + ".1", side), at_, sum};
    step.accumulates = true;
    step.input_is_relu = is_relu_;
    builder_.AddStep(std::move(step));
    at_ = sum;
    is_relu_ = false;
  }

  const Columns& at() const { return at_; }

 private:
  Linear MakeLinear(const std::string& name, const Side& outputs) {
    const std::string path = absl::StrCat(place_.name, ".", name);
    return builder_.AddLinear({path + ".weight", path + ".bias", side_, outputs});
  }

  Columns NewColumns(uint32_t count) { return builder_.NewNetworkColumns(count, /*has_gradient=*/true); }

  void Activate() {
    ActivateStep step{activation_, at_, NewColumns(at_.count)};
    at_ = step.to;
    builder_.AddStep(step);
  }

  void DropOut(double share) {
    DropoutStep step;
    step.keep = static_cast<float>(1 - share);
    step.layer = builder_.program().dropouts++;
    step.from = at_;
    step.to = NewColumns(at_.count);
    step.input_is_relu = is_relu_;
    at_ = step.to;
    is_relu_ = false;
    builder_.AddStep(step);
  }

  const NetworkPlace& place_;
  const ActivationKind activation_;
  Builder& builder_;
  Side side_;
  Columns at_;
  bool is_relu_ = false;
};

}  // namespace

Side DenseSide(int64_t width) {
  Side side;
  side.order.resize(static_cast<size_t>(width));
  std::iota(side.order.begin(), side.order.end(), 0);
  return side;
}

absl::StatusOr<Columns> AddNetwork(const Conditioner& spec, const NetworkPlace& place, Builder& builder) {
  if (spec.has_residual_mlp()) {
    const auto& network = spec.residual_mlp();
    NetworkSteps steps(place, cpu::LowerActivation(network.activation()), builder);
    steps.Layer("input", place.hidden(network.hidden()), /*activates=*/false);
    for (uint32_t block = 0; block < network.blocks(); ++block) {
      steps.Block(absl::StrCat("blocks.", block), network.dropout());
    }
    steps.Layer("output", place.outputs, /*activates=*/false);
    return steps.at();
  }
  if (!spec.has_mlp())
    return absl::UnimplementedError(
        absl::StrCat(place.name, ": a network that is not fully connected has no compiled training step"));
  NetworkSteps steps(place, cpu::LowerActivation(spec.mlp().activation()), builder);
  const int hidden = spec.mlp().hidden_size();
  for (int k = 0; k < hidden; ++k) {
    steps.Layer(absl::StrCat(k), place.hidden(spec.mlp().hidden(k)), /*activates=*/true);
  }
  steps.Layer(absl::StrCat(hidden), place.outputs, /*activates=*/false);
  return steps.at();
}

}  // namespace densityd::engine::train
