// The floor that the row service is measured against: answers LogProb with zeros, on gRPC's callback API, without
// looking at the rows. Its messages are as long as the service's. Prints "ready <port>" and runs until it is killed.
#include <grpcpp/grpcpp.h>

#include <cstdio>

#include "density/v1/density_estimator.grpc.pb.h"
#include "server/base/locks.h"

namespace {

class Echo final : public density::v1::DensityEstimator::CallbackService {
  grpc::ServerUnaryReactor* LogProb(grpc::CallbackServerContext* context, const density::v1::LogProbRequest* request,
                                    density::v1::LogProbResponse* response) override {
    response->mutable_model()->set_name(request->model());
    response->mutable_model()->set_version(1);
    response->mutable_log_prob()->mutable_f32_le()->resize(request->rows().rows() * sizeof(float));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

int main() {
  densityd::ConfigureLocks();  // as the server that is compared with it
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(64 << 20);
  builder.RegisterService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::printf("ready %d\n", port);
  std::fflush(stdout);
  server->Wait();
}
