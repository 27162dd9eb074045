"""An engine on this machine that answers as one elsewhere does, from a model that is here."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from core.loading.model import Model
from core.loading.served.model import ServedModel
from core.loading.served.requests import MEMORY, Requests
from core.remote.pending import Pending
from core.remote.values import Capabilities, Known, Scored


class LocalEngine:
    """Answers from the distributions of `model`; `held` requests are not answered before `release`."""

    def __init__(self, model: Model, top_k: int | None = 20, full: bool = False, prompt_scores: bool = False) -> None:
        self.model = model
        name = "llama" if top_k is None and not full else "vllm"
        info = model.info
        self.capabilities = Capabilities(
            name, "1", info.name, info.vocab_size, info.context + 1, top_k, full, True, True, True, prompt_scores,
            tokenizer=True,
        )  # fmt: skip
        self.asked: list[tuple[tuple[int, ...], int]] = []
        """The ids and the count of each request for a distribution."""
        self.scored: list[int] = []
        """How many ids each request for scores had."""
        self.held: list[tuple[Future[Any], Callable[[], Any]]] | None = None
        """The requests that wait, where answers are held back."""
        self.failures: list[Exception] = []
        """What the next requests fail with."""

    def largest(self, k: int | None = None) -> int:
        told = self.capabilities
        most = self.model.info.vocab_size if told.full or told.top_k is None else told.top_k
        return most if k is None else max(1, min(k, most))

    def next(self, ids: Sequence[int], k: int | None = None) -> Pending[Known]:
        ids, count = tuple(ids), self.largest(k)
        self.asked.append((ids, count))
        return self._pending(lambda: self._known(ids, count))

    def _logprobs(self, ids: Sequence[int]) -> Any:
        sequence = self.model.sequences()
        sequence.append([list(ids)])
        logits: Any = sequence.distributions([len(ids) - 1])[0][0]
        return logits.logits.double().log_softmax(-1).numpy()

    def _known(self, ids: Sequence[int], count: int) -> Known:
        logprobs = self._logprobs(ids)
        kept = np.sort(np.argsort(-logprobs, kind="stable")[:count])
        return Known(kept, logprobs[kept], len(logprobs))

    def score(self, ids: Sequence[int], start: int = 1) -> Pending[tuple[Scored, ...]]:
        ids = tuple(ids)
        self.scored.append(len(ids))

        def scores() -> tuple[Scored, ...]:
            found = []
            for at in range(start, len(ids)):
                logprobs = self._logprobs(ids[:at])
                own = float(logprobs[ids[at]])
                found.append(Scored(ids[at], own, int((logprobs > own).sum()), self.largest()))
            return tuple(found)

        return self._pending(scores)

    def _pending(self, answer: Callable[[], Any]) -> Pending[Any]:
        future: Future[Any] = Future()
        if self.failures:
            future.set_exception(self.failures.pop(0))
        elif self.held is not None:
            self.held.append((future, answer))
        else:
            future.set_result(answer())
        return Pending(future)

    def release(self) -> None:
        """Answer what was held back, and hold nothing back from now on."""
        held, self.held = self.held or [], None
        for future, answer in held:
            if not future.cancelled():
                future.set_result(answer())


ADDRESS = "http://127.0.0.1:8000"


def served(model: Model, memory: int = MEMORY, **told: Any) -> tuple[LocalEngine, ServedModel]:
    """`model` as an engine serves it, and the engine."""
    engine = LocalEngine(model, **told)
    choice = replace(model.choice, name=ADDRESS)
    info = replace(model.info, name=ADDRESS, choice=choice)
    return engine, ServedModel(choice, info, model.tokenizer, Requests(engine, memory))  # type: ignore[arg-type]
