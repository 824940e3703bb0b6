"""What a Python user would serve with: grpc.aio, zuko and a micro-batcher.

Answers density.v1 LogProb for any model name with an untrained masked autoregressive flow (6 columns, 8 transforms,
hidden 256x2; zuko's MAF), one intra-op thread. Requests that arrive within `--window` seconds are computed together,
at most `--batch` rows. Prints "ready <port>" and runs until SIGTERM.
"""

import argparse
import asyncio
import signal

import grpc
import numpy
import torch
import zuko

from protos import import_protos


class MicroBatcher:
    """Collects rows for a moment, computes them together, hands out the parts."""

    def __init__(self, flow, batch, window):
        self._flow = flow
        self._batch = batch
        self._window = window
        self._pending = []
        self._rows = 0
        self._timer = None

    async def log_prob(self, rows):
        future = asyncio.get_running_loop().create_future()
        self._pending.append((rows, future))
        self._rows += len(rows)
        if self._rows >= self._batch:
            self._run()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window, self._run)
        return await future

    def _run(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending, self._rows = self._pending, [], 0
        if not pending:
            return
        with torch.inference_mode():
            rows = torch.from_numpy(numpy.concatenate([rows for rows, _ in pending]))
            log_prob = self._flow().log_prob(rows).numpy()
        begin = 0
        for rows, future in pending:
            if not future.cancelled():
                future.set_result(log_prob[begin : begin + len(rows)])
            begin += len(rows)


async def serve(options):
    import_protos(options.protos)
    from density.v1 import density_estimator_pb2 as messages, density_estimator_pb2_grpc as services

    flow = zuko.flows.MAF(options.features, 0, transforms=8, hidden_features=(256, 256)).eval()
    batcher = MicroBatcher(flow, options.batch, options.window)

    class Estimator(services.DensityEstimatorServicer):
        async def LogProb(self, request, context):
            rows = numpy.frombuffer(request.rows.f32_le, dtype="<f4").reshape(request.rows.rows, request.rows.cols)
            response = messages.LogProbResponse()
            response.log_prob.f32_le = (await batcher.log_prob(rows.copy())).tobytes()
            return response

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    services.add_DensityEstimatorServicer_to_server(Estimator(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ready {port}", flush=True)
    await stop.wait()
    await server.stop(None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protos", required=True, help="folder that holds density/v1/*.proto")
    parser.add_argument("--features", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64, help="rows that are computed at once at most")
    parser.add_argument("--window", type=float, default=0.001, help="seconds to wait for more rows")
    torch.set_num_threads(1)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
