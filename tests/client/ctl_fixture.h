// Runs densityctl in this process, on a server whose answers the tests decide.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "client/ctl/ctl.h"
#include "client/lib/matrix_codec.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd::ctl {

using testing::Not;

/// What one run of densityctl left behind.
struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

inline Outcome RunCtl(const std::vector<std::string>& arguments, const std::string& input = "", int err_columns = 0) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Outcome outcome;
  outcome.code = Run(arguments, {.in = in, .out = out, .err = err, .err_columns = err_columns});
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

/// A server with the model power@3: columns a, b given month. log p = a - b + 100 month; z = x + 1; x = z - 1.
class CtlTest : public testing::Test {
 protected:
  CtlTest() : folder_(testing::TempDir() + "/ctl_test_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    server_.registry.get = [](grpc::ServerContext&, const v1::GetModelRequest& request, v1::ModelDetail& detail) {
      if (request.model() != "power" && request.model() != "power@3")
        return grpc::Status(grpc::StatusCode::NOT_FOUND, "no model " + request.model());
      detail.mutable_info()->set_name("power");
      detail.mutable_info()->set_version(3);
      detail.mutable_info()->set_features(2);
      for (const char* name : {"a", "b"}) detail.mutable_manifest()->mutable_schema()->add_features()->set_name(name);
      detail.mutable_manifest()->mutable_schema()->add_context()->set_name("month");
      return grpc::Status::OK;
    };
    server_.estimator.log_prob = [](grpc::ServerContext&, const v1::LogProbRequest& request,
                                    v1::LogProbResponse& response) {
      Answered(response.mutable_model());
      const std::vector<double> x = Numbers(request.rows());
      const std::vector<double> month = Numbers(request.context());
      for (size_t row = 0; row < request.rows().rows(); ++row) {
        const double context = month.empty() ? 0 : month.size() == 1 ? month[0] : month[row];
        response.mutable_log_prob()->add_values(static_cast<float>(x[2 * row] - x[2 * row + 1] + 100 * context));
        if (request.tail_probability()) response.mutable_tail_probability()->add_values(0.25f);
      }
      return grpc::Status::OK;
    };
    server_.estimator.inverse = [](grpc::ServerContext&, const v1::InverseRequest& request,
                                   v1::InverseResponse& response) { return Shift(request, response, 1); };
    server_.estimator.forward = [](grpc::ServerContext&, const v1::ForwardRequest& request,
                                   v1::ForwardResponse& response) { return Shift(request, response, -1); };
    server_.estimator.score = [](grpc::ServerContext&, const v1::ScoreRequest& request, v1::ScoreResponse& response) {
      Answered(response.mutable_model());
      response.mutable_score()->set_rows(request.rows().rows());
      response.mutable_score()->set_cols(request.rows().cols());
      for (double number : Numbers(request.rows())) response.mutable_score()->add_values(static_cast<float>(-number));
      for (size_t row = 0; row < request.rows().rows(); ++row) response.mutable_log_prob()->add_values(0.75f);
      return grpc::Status::OK;
    };
    server_.estimator.sample = [](grpc::ServerContext&, const v1::SampleRequest& request,
                                  v1::SampleResponse& response) {
      Answered(response.mutable_model());
      response.set_seed(request.has_seed() ? request.seed() : 99);
      response.mutable_rows()->set_rows(request.rows());
      response.mutable_rows()->set_cols(2);
      for (uint64_t row = 0; row < request.rows(); ++row) {
        response.mutable_rows()->add_values(static_cast<float>(response.seed()));
        response.mutable_rows()->add_values(static_cast<float>(row + request.row_offset()));
        if (request.log_prob()) response.mutable_log_prob()->add_values(-0.5f);
      }
      return grpc::Status::OK;
    };
  }
  ~CtlTest() override { std::filesystem::remove_all(folder_); }

  static void Answered(v1::ModelVersion* model) {
    model->set_name("power");
    model->set_version(3);
  }

  static std::vector<double> Numbers(const v1::Matrix& matrix) {
    std::vector<double> numbers;
    EXPECT_TRUE(client_internal::AppendMatrix(matrix, matrix.rows(), matrix.cols(), "rows", numbers).ok());
    return numbers;
  }

  template <typename Request, typename Response>
  static grpc::Status Shift(const Request& request, Response& response, double shift) {
    Answered(response.mutable_model());
    response.mutable_rows()->set_rows(request.rows().rows());
    response.mutable_rows()->set_cols(request.rows().cols());
    for (double number : Numbers(request.rows())) {
      response.mutable_rows()->add_values(static_cast<float>(number + shift));
    }
    for (uint64_t row = 0; row < request.rows().rows(); ++row) response.mutable_log_abs_det()->add_values(0.5f);
    return grpc::Status::OK;
  }

  /// Runs densityctl on the server of this test.
  Outcome Ctl(std::vector<std::string> arguments, const std::string& input = "", int err_columns = 0) const {
    arguments.insert(arguments.begin(), {"--server", server_.address(), "--retry-for", "0"});
    return RunCtl(arguments, input, err_columns);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(Path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  FakeServer server_;
  std::string folder_;
};

}  // namespace densityd::ctl
