#include "examples/demo/table.h"

#include "absl/strings/str_format.h"

namespace densityd::demo {

void PrintLikelihoods(const std::vector<Answers>& models, double log_deviation) {
  absl::PrintF("\n  %-10s %-18s %10s %9s   %-22s %-18s %s\n", "model", "version", "parameters", "training",
               "held-out log-likelihood", "standardised", "above Gaussian");
  const double first = MeanOf(models.front().held_out_log_prob).value;
  for (const Answers& model : models) {
    const Mean mean = MeanOf(model.held_out_log_prob);
    absl::PrintF("  %-10s %-18s %10d %7.1f s   %10.2f +- %-8.2f %8.2f +- %-8.2f %8.2f\n", model.name, model.version,
                 model.parameters, model.seconds, mean.value, mean.two_errors, mean.value + log_deviation,
                 mean.two_errors, mean.value - first);
  }
  absl::PrintF("  (nats per row, mean +- 2 standard errors of %d rows)\n\n", models.front().held_out_log_prob.size());
}

}  // namespace densityd::demo
