"""Servers that speak OpenAI's API and give text only: Ollama, LM Studio, TGI and others."""

import msgspec

from core.remote.engines.api import Ask, EngineApi, Request
from core.remote.engines.decoding import read
from core.remote.engines.listing import Served
from core.remote.faults import Refused
from core.remote.values import Capabilities

COUNTS = (20, 5, 1)
"""How many log-probabilities are asked for, until some come: Ollama gives 20 at most, OpenAI 5."""
TEXT = "one two three"
SAME = 1e-2


class Logprobs(msgspec.Struct):
    """The likeliest texts at each position."""

    top_logprobs: list[dict[str, float]] | None = None


class Choice(msgspec.Struct):
    """One continuation."""

    logprobs: Logprobs | None = None


class Completion(msgspec.Struct):
    """An answer."""

    choices: list[Choice] = []


COMPLETION = msgspec.json.Decoder(Completion)


class OpenAI(EngineApi):
    """Any such server. Without token ids there is no walk: texts that are alike cannot be told apart."""

    name = "openai"

    async def describe(self, ask: Ask, listed: Served) -> Capabilities:
        count, first = await self._likeliest(ask)
        second = await self._top(ask, count, 2.0) if count else {}
        raw = bool(first) and first.keys() == second.keys()
        return Capabilities(
            engine=self.name,
            version="",
            model=self.model,
            vocab_size=None,
            context=listed.max_model_len,
            top_k=len(first),
            full=False,
            raw=raw and all(abs(first[text] - second[text]) < SAME for text in first),
            ids=False,
            bytes=False,
            prompt_scores=False,
            source=listed.root or "",
        )

    async def _likeliest(self, ask: Ask) -> tuple[int, dict[str, float]]:
        """The most log-probabilities that come, and how many were asked for; 0 where none come."""
        for count in COUNTS:
            if top := await self._top(ask, count, 1.0):
                return count, top
        return 0, {}

    async def _top(self, ask: Ask, count: int, temperature: float) -> dict[str, float]:
        body = {"model": self.model, "prompt": TEXT, "max_tokens": 1, "logprobs": count, "temperature": temperature}
        try:
            choices = (await ask(Request("/v1/completions", body), lambda answer: read(COMPLETION, answer))).choices
        except Refused as refused:
            if refused.status in (400, 404, 405, 422, 501):
                return {}
            raise
        rows = choices[0].logprobs.top_logprobs if choices and choices[0].logprobs else None
        return rows[0] if rows else {}
