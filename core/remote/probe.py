"""Finds out which engine a server is, and what it can do, by asking it. Nothing is taken from its name or version."""

from dataclasses import replace
from functools import partial

import numpy as np

from core.errors import UserError
from core.language import _
from core.remote.client import Client, Unusable, together
from core.remote.engines import ENGINES, OWNERS
from core.remote.engines.api import EngineApi, Request
from core.remote.engines.listing import Served, choose, read_listing
from core.remote.engines.openai import OpenAI
from core.remote.faults import Refused
from core.remote.values import Capabilities

PROBE_TEXT = "one two three four five six seven eight"
RAW_K = 5
SAME = 1e-2
"""Nats by which log-probabilities may differ between two requests for the same tokens."""
ABSENT = (400, 404, 405, 501)
"""What a server answers where it does not have a path, or not this use of it."""


async def probe(client: Client, engine: str, served: str) -> tuple[EngineApi, Capabilities]:
    """The engine's interface and its capabilities. Raises `UserError` where it cannot be used, and says why."""
    models = await client.ask(Request("/v1/models"), read_listing)
    kind = ENGINES[engine] if engine != "auto" else _kind(models)
    model = choose(models, served, str(client.address))
    api = kind(model.id)
    said = await api.describe(client.ask, model)
    if not said.ids:
        return api, said
    said = replace(said, tokenizer=await _has(client, api.tokenize_request(PROBE_TEXT)))
    ids = await _ids(client, api, said)
    scores = await _has(client, api.score_request([*ids, ids[0]]))
    return api, replace(said, prompt_scores=scores, raw=await _is_raw(client, api, said))


def _kind(models: list[Served]) -> type[EngineApi]:
    """The engine that its list of models names."""
    return next((OWNERS[model.owned_by] for model in models if model.owned_by in OWNERS), OpenAI)


async def _has(client: Client, request: Request | None) -> bool:
    """Whether the server fulfills a request."""
    if request is None:
        return False
    try:
        await client.send(request)
    except Refused as refused:
        if refused.status in ABSENT:
            return False
        raise
    return True


async def _is_raw(client: Client, api: EngineApi, said: Capabilities) -> bool:
    """Whether temperature changes the log-probabilities. Raises `UserError` where they are none."""
    vocab_size = said.vocab_size or 1
    k = min(said.top_k or RAW_K, RAW_K, vocab_size)
    ids = await _ids(client, api, said)
    requests = [api.next_request(ids, k, vocab_size, temperature) for temperature in (1.0, 2.0)]
    try:
        one, two = await together(
            client.ask(each, partial(api.read_next, k=k, vocab_size=vocab_size)) for each in requests
        )
    except Unusable as error:
        raise UserError(f"{error}; {_(api.advice)}") from error
    first, second = one.known, two.known
    return bool(np.array_equal(first.ids, second.ids) and np.abs(first.logprobs - second.logprobs).max() < SAME)


async def _ids(client: Client, api: EngineApi, said: Capabilities) -> list[int]:
    if not said.tokenizer:
        return [0]
    request = api.tokenize_request(PROBE_TEXT)
    ids, _unused = await client.ask(request, lambda answer: api.read_tokenize(answer, PROBE_TEXT))
    return ids or [0]
