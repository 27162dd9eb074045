"""A walk in a served model beside the same weights here: `remote_walk.py URL [MODEL]`, MODEL is smollm2 by default.

Prints whether both draw the same tokens, how far their probabilities differ, what a step costs beside the engine's
time, over a link that delays by 50 ms too, and for llama-server the ratio to its own streaming of the same tokens.
"""

import asyncio
import json
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).parents[2])]

from core.loading.choice import ModelChoice  # noqa: E402
from core.loading.models import load_model  # noqa: E402
from core.sampling.sampler import Sampler  # noqa: E402
from core.walk.session import Session  # noqa: E402

PROMPT = "The history of the city of Paris began in the"
TOKENS, STEPS, DELAY = 200, 60, 0.05


def walk(url: str, stages: str, count: int, name: str = "") -> tuple[Session, float]:
    """A walk of `count` tokens, and its seconds for each."""
    model = load_model(ModelChoice(name=name, dtype="fp32") if name else ModelChoice(name=url))
    session = Session(model, Sampler.read(stages, seed=0))
    list(session.prefill(model.tokenizer.encode(PROMPT)))
    began, made = time.perf_counter(), 0
    for _ in session.generate(count):
        made += 1
    return session, (time.perf_counter() - began) / made


def streamed(url: str, ids: list[int], count: int) -> float:
    """Seconds a token that llama-server takes to stream `count` tokens with 50 candidates each."""
    body = {"prompt": ids, "n_predict": count, "n_probs": 50, "stream": True, "top_k": 40, "ignore_eos": True}
    request = urllib.request.Request(f"{url}/completion", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        next(answer)
        began = time.perf_counter()
        lines = sum(line.startswith(b"data") for line in answer)
    return (time.perf_counter() - began) / lines


def delayed(url: str, delay: float) -> str:
    """The address of a proxy that passes bytes on, each way `delay` / 2 seconds later."""
    parts, ready, found = urlsplit(url), threading.Event(), list[str]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(1 << 20):
            loop.call_later(delay / 2, writer.write, data)
        loop.call_later(delay, writer.close)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        found.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    return found[0]


def main() -> None:
    url, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "smollm2"
    there, _ = walk(url, "temp=1", TOKENS)
    here, _ = walk(url, "temp=1", TOKENS, name)
    pairs = list(zip(here.tokens, there.tokens, strict=False))
    same = next((n for n, (a, b) in enumerate(pairs) if a.id != b.id), len(pairs)) - here.prompt_length
    apart = max(abs(a.score.probability - b.score.probability) for a, b in pairs[: same + 5] if a.score and b.score)
    print(f"{there.info.device}: {same} of {TOKENS} tokens are the same, probabilities within {apart:.1e}")

    _, own = walk(url, "top_k=40", STEPS)
    session, _ = walk(url, "top_k=40", 1)
    waited = list[float]()
    requests = session.model.requests
    assert requests
    for _ in range(STEPS):
        began = time.perf_counter()
        session.step()
        session.distribution()
        waited.append(time.perf_counter() - began - (requests.seconds or 0.0))
    waited.sort()
    print(
        f"a step costs {1000 * waited[STEPS // 2]:.1f} ms beside the request (median), {requests.first:,} tokens known"
    )
    _, far = walk(delayed(url, DELAY), "top_k=40", STEPS)
    print(f"over a link of {1000 * DELAY:.0f} ms: {1000 * far:.0f} ms a step, {1000 * own:.0f} ms without it")
    if session.info.device.startswith("llama"):
        ids = session.model.tokenizer.encode(PROMPT)
        for stages in ("temp=0", "top_k=40"):
            theirs, ours = list[float](), list[float]()
            for _ in range(5):
                theirs.append(streamed(url, ids, TOKENS))
                ours.append(walk(url, stages, TOKENS)[1])
            print(
                f"speed / its own streaming of one sequence with 50 candidates, {stages}: {min(theirs) / min(ours):.2f}"
            )


if __name__ == "__main__":
    main()
