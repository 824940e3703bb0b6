// The training process on its own: what `densityd train-worker` runs.
#include <cstdio>
#include <string_view>

#include "server/training/worker_main.h"

int main(int argc, char** argv) {
  if (argc != 3 || std::string_view(argv[1]) != "train-worker") {
    std::fprintf(stderr, "usage: %s train-worker FOLDER\n", argv[0]);
    return 64;
  }
  return densityd::training::TrainWorkerMain(argv[2]);
}
