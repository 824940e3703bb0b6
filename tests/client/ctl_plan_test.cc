// densityctl plan.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CtlPlanTest : public CtlTest {
 protected:
  CtlPlanTest() {
    server_.registry.get_plan = [this](grpc::ServerContext&, const v1::GetPlanRequest& request, v1::PlanDetail& plan) {
      asked_ = request;
      plan.set_name("power");
      plan.set_version(3);
      plan.set_op(request.op());
      plan.set_precision(request.precision());
      plan.set_kind(reference_ ? "reference-cpu" : "compiled-cpu");
      if (reference_) plan.set_not_compiled_because("layers.2: this kind of layer has no compiled form");
      plan.set_device("cpu");
      plan.set_instructions("AVX3");
      plan.set_rows_are_independent(!reference_);
      plan.set_tile_rows(64);
      plan.set_bytes(5 << 20);
      plan.set_workspace_bytes(2048);
      plan.set_multiply_adds(5000);
      plan.set_dense_multiply_adds(10000);
      v1::PlanLayer& layer = *plan.add_layers();
      layer.set_kind("autoregressive");
      layer.set_shape("6 columns, 6 -> 256 -> 12, relu");
      layer.set_dense_multiply_adds(10000);
      layer.set_multiply_adds(5000);
      layer.set_passes(1);
      v1::PlanStep& step = *layer.add_steps();
      step.set_op("dense");
      step.set_inputs(6);
      step.set_outputs(256);
      v1::PlanTime& time = *plan.add_times();
      time.set_rows(64);
      time.set_seconds(640e-6);
      return grpc::Status::OK;
    };
  }

  v1::GetPlanRequest asked_;
  bool reference_ = false;
};

TEST_F(CtlPlanTest, PrintsLayersWorkAndTimes) {
  const Outcome outcome = Ctl({"plan", "power@3"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(asked_.model(), "power@3");
  EXPECT_EQ(asked_.op(), v1::ROW_OP_LOG_PROB);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("power@3 log_prob: compiled-cpu, float32, cpu with AVX3"),
                                 HasSubstr("Same row, same bits"), HasSubstr("5.0 MiB"), HasSubstr("2.0 KiB")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("6 -> 256 -> 12, relu"), HasSubstr("5.0k"), HasSubstr("50 %")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("10.00 us"), HasSubstr("1.00"))) << "time per row, and GFLOP/s";
}

TEST_F(CtlPlanTest, OperationPrecisionAndStepsAreFlags) {
  const Outcome outcome = Ctl({"plan", "power", "--op", "sample", "--float64", "--steps"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(asked_.op(), v1::ROW_OP_SAMPLE);
  EXPECT_EQ(asked_.precision(), v1::PRECISION_FLOAT64);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("STEP"), HasSubstr("dense"), HasSubstr("256")));
  EXPECT_THAT(Ctl({"plan", "power", "--op", "sampling"}).err, HasSubstr("--op"));
}

TEST_F(CtlPlanTest, AReferencePlanSaysWhy) {
  reference_ = true;
  EXPECT_THAT(Ctl({"plan", "power"}).out,
              AllOf(HasSubstr("Not compiled: layers.2: this kind of layer has no compiled form"),
                    HasSubstr("may depend on the rows")));
}

TEST_F(CtlPlanTest, JsonHasEverything) {
  EXPECT_THAT(Ctl({"plan", "power", "--json"}).out,
              AllOf(HasSubstr("\"kind\": \"compiled-cpu\""), HasSubstr("\"op\": \"dense\""),
                    HasSubstr("\"rows_are_independent\": true")));
}

}  // namespace
}  // namespace densityd::ctl
