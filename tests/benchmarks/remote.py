"""What one remote step costs here, beside the engine and the network: milliseconds, and the ratio to a bare socket.

A process of its own answers at once with canned bytes in the form of each engine, at k = 50 and at all of
V = 49,152. `bare` is http.client on a kept connection, which reads the same body and does nothing with it; `json` is
that with json.loads. The own cost is the time of `RemoteEngine.next` minus `bare`.
"""

import http.client
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from remote_answers import written  # noqa: E402

from core.remote.address import address  # noqa: E402
from core.remote.engine import RemoteEngine  # noqa: E402
from core.remote.engines import ENGINES  # noqa: E402
from core.remote.values import Capabilities  # noqa: E402
from core.remote.vocabulary import Vocabulary  # noqa: E402

V = 49_152
IDS = [57, 4640, 28973, 4788, 281]
ROUNDS = {50: 300, V: 30}


def canned(engine: str, k: int) -> bytes:
    """An answer with the `k` likeliest of a plausible distribution."""
    logits = np.sort(np.random.default_rng(0).normal(0, 3, V))[::-1]
    logprobs = logits - np.logaddexp.reduce(logits)
    ids = np.random.default_rng(1).permutation(V)
    if engine != "llama":
        return written(engine, *zip(ids[:k].tolist(), logprobs[:k].tolist(), strict=True))
    tokens = [
        {"id": id, "token": " oat", "bytes": [32, 111, 97, 116], "logprob": value}
        for id, value in zip(ids[:k].tolist(), logprobs[:k].tolist(), strict=True)
    ]
    return json.dumps({"completion_probabilities": [{"top_logprobs": tokens}]}).encode()


def serve(answer: bytes, port: Any) -> None:
    """A server that has one answer; it puts its port into `port`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            self.wfile.write(head.encode() + answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_port)
    server.serve_forever()


def median_ms(call: Callable[[], object], rounds: int) -> float:
    """The median of `rounds` calls, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:]) * 1e3


def measure(name: str, k: int) -> None:
    """One line of the table."""
    port: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(canned(name, k), port), daemon=True)
    process.start()
    number = port.get()
    engine = RemoteEngine(address(f"http://127.0.0.1:{number}"))
    engine._api = ENGINES[name]("model")
    engine._vocabulary = Vocabulary(engine._client, engine._api, V)
    engine._capabilities = Capabilities(name, "", "model", V, 1024, None, True, True, True, False, False)
    request = engine._api.next_request(IDS, k, V)
    connection = http.client.HTTPConnection("127.0.0.1", number)

    def bare() -> bytes:
        connection.request("POST", request.path, json.dumps(request.body), {"Content-Type": "application/json"})
        return connection.getresponse().read()

    rounds = ROUNDS[k]
    socket = median_ms(bare, rounds)
    plain = median_ms(lambda: json.loads(bare()), rounds)
    ours = median_ms(lambda: engine.next(IDS, k).result(), rounds)
    print(f"{name:<7} k = {k:>6,}  {ours:7.2f} ms  bare {socket:6.2f}  json {plain:6.2f}  own {ours - socket:6.2f} ms")
    engine.close()
    process.terminate()


if __name__ == "__main__":
    for k in ROUNDS:
        for name in ("llama", "vllm", "sglang"):
            measure(name, k)
