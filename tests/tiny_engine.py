"""An engine as llama-server is one, over 256 tokens of one byte each; its probabilities are made from the ids."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from engine_servers import Body, Handler, Respond

V = 256


def tiny_engine(name: str = "tiny", first: int = 0) -> Respond:
    """Answers for a model called `name`; the bytes of token t are t + `first`."""

    def spelled(id: int) -> list[int]:
        return [(id + first) % V]

    def piece(id: int) -> str | list[int]:
        return chr(*spelled(id)) if spelled(id)[0] < 128 else spelled(id)

    def respond(path: str, body: Body, handler: Handler) -> None:
        if body and body.get("stream"):
            handler.send(200, b"".join(events(body)), Content_Type="text/event-stream")
        else:
            handler.send(200, json.dumps(answer(path, body or {})).encode())

    def events(body: dict[str, object]) -> Iterator[bytes]:
        """The stream of a request: the likeliest token each time. The last event only ends it."""
        ids: list[int] = list(body["prompt"])  # type: ignore[call-overload]
        for number in range(1, body["n_predict"] + 1):  # type: ignore[operator]
            said = completion(ids, body["n_probs"])  # type: ignore[arg-type]
            ids.append(said["completion_probabilities"][0]["top_logprobs"][0]["id"])
            event = said | {"tokens": [ids[-1]], "tokens_predicted": number}
            yield b"data: " + json.dumps(event).encode() + b"\n\n"
        yield b'data: {"tokens": [], "stop": true}\n\n'

    def answer(path: str, body: dict[str, object]) -> object:
        match path:
            case "/v1/models":
                return {"data": [{"id": name, "owned_by": "llamacpp", "meta": {"n_vocab": V, "n_ctx": 4096}}]}
            case "/props":
                return {"default_generation_settings": {"n_ctx": 4096}, "build_info": "b1", "total_slots": 4}
            case "/tokenize":
                tokens = [(byte - first) % V for byte in str(body["content"]).encode()]
                return {"tokens": [{"id": id, "piece": piece(id)} for id in tokens]}
        return completion(body["prompt"], body["n_probs"])  # type: ignore[arg-type]

    def completion(ids: list[int], count: int) -> dict[str, Any]:
        logits = np.random.default_rng(ids).normal(size=V) * 3
        logprobs = logits - np.log(np.exp(logits).sum())
        top = [
            {"id": int(id), "bytes": spelled(int(id)), "logprob": float(logprobs[id])}
            for id in np.argsort(-logprobs)[:count]
        ]
        return {"model": name, "tokens_evaluated": len(ids), "completion_probabilities": [{"top_logprobs": top}]}

    return respond
