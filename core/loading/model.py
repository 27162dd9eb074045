"""A loaded model as the rest of `core` sees it, and the one whose weights are on this machine.

`Model` and `Sequences` are what every model fulfils, wherever it runs: ids go in, next-token distributions come out.
What looks inside a forward pass asks for `Model.transformer`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from core.engine.cache import KVCache
from core.engine.lora import Adapter
from core.engine.model import Transformer
from core.engine.prefix import CHUNK, Prefix
from core.errors import Option, UserError
from core.language import _
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.sampling.distribution import Distribution
from core.sampling.next_distribution import NextDistribution
from core.sampling.values import Score
from core.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from core.loading.served.requests import Requests


SCORED_AT_ONCE = 32
"""Positions whose logits are held in memory together."""


class Sequences(Protocol):
    """B sequences of ids of one length, and the next-token distributions after their positions.

    Ids are appended at no cost; the model reads them when they are asked for. It sees no more than its context.
    """

    @property
    def batch(self) -> int:
        """B."""

    @property
    def length(self) -> int:
        """Number of positions."""

    @property
    def reach(self) -> int:
        """How many ids before a position the model reads anew for a position beyond its context."""

    def append(self, ids: Sequence[Sequence[int]]) -> None:
        """Append ids [B, n]."""

    def rewind(self, length: int) -> None:
        """Drop everything from position `length` on. A length past the end changes nothing."""

    def repeat(self, batch: int) -> "Sequences":
        """A copy of one sequence as `batch` sequences that then continue independently."""

    def rearrange(self, rows: Sequence[int], start: int) -> None:
        """Let sequence i go on as sequence `rows[i]` did from position `start`; before it all must be alike."""

    def knows(self, position: int) -> bool:
        """Whether the distributions after a position can be had without waiting."""

    def begin(self, positions: Sequence[int]) -> None:
        """Let a model that runs elsewhere begin to read `positions`; nothing is waited for."""

    def read(self, positions: Sequence[int]) -> Iterator[int]:
        """Read until `positions` are known; yields how many tokens or positions are done, after each piece of work."""

    def distributions(self, positions: Sequence[int]) -> list[list[NextDistribution]]:
        """The distribution after each of n positions of each sequence, [n][B]. Reads what is not known yet."""

    def deeper(self, position: int, row: int, count: int) -> NextDistribution | None:
        """The distribution after a position of one sequence, with `count` tokens known or V; None if it has no more."""

    def scores(self, positions: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """The scores of the ids at `positions` of one sequence, each from 1 on, in groups; an empty one is a pause."""

    def past(self, length: int) -> KVCache | None:
        """A copy of the first `length` positions of the KV cache; None where that is not on this machine."""


class Model(Protocol):
    """A model that reads ids: its description, its tokenizer, and where they are here its weights."""

    @property
    def choice(self) -> ModelChoice:
        """What it was loaded by."""

    @property
    def info(self) -> ModelInfo:
        """What is shown of it."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""

    @property
    def transformer(self) -> Transformer:
        """The weights. Raises `UserError` where they are not on this machine."""

    @property
    def adapter(self) -> Adapter | None:
        """The LoRA adapter beside the weights, which can be scaled at any time."""

    @property
    def requests(self) -> "Requests | None":
        """The requests to the engine that serves it; None where it runs here."""

    @property
    def stops(self) -> frozenset[int]:
        """Ids that end a text."""

    def with_adapter_at(self, scale: float) -> "Model":
        """The same model with its adapter at another scale. Raises `UserError` where there is none."""

    def sequences(self, *, whole: bool = False) -> Sequences:
        """One sequence without ids; where `whole`, with as much of each distribution as an engine tells."""


class LocalSequences(Prefix):
    """Sequences that a `Transformer` of this machine reads through its KV cache."""

    @property
    def reach(self) -> int:
        """How many ids before a position the model reads anew for a position beyond its context."""
        return self.model.config.reach

    def begin(self, positions: Sequence[int]) -> None:
        """Nothing: the model computes when it is asked."""

    def distributions(self, positions: Sequence[int]) -> list[list[NextDistribution]]:
        """The distribution after each of n positions of each sequence, [n][B]. Reads what is not known yet."""
        return [[Distribution(row) for row in rows] for rows in self.logits(positions).unbind(1)]  # rows: [B, V]

    def deeper(self, position: int, row: int, count: int) -> None:
        """None: all of V is known."""

    def scores(self, positions: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """The scores of the ids at `positions` of one sequence, each from 1 on, in groups; an empty one is a pause."""
        last = max(positions, default=0) - 1
        for first in range(0, len(positions), SCORED_AT_ONCE):
            group = positions[first : first + SCORED_AT_ONCE]
            before = [position - 1 for position in group]
            end_of_chunk = (max(before) // CHUNK + 1) * CHUNK - 1
            for _unused in self.read([*before, min(end_of_chunk, last)]):
                yield []
            after = self.logits(before)[0]
            yield [(at, Distribution(row).score(self._ids[0][at])) for at, row in zip(group, after, strict=True)]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Weights on this machine, their tokenizer, and a description."""

    choice: ModelChoice
    info: ModelInfo
    transformer: Transformer
    tokenizer: Tokenizer
    adapter: Adapter | None = None
    """The LoRA adapter beside the weights, which can be scaled at any time."""

    @property
    def requests(self) -> None:
        """None: it runs here."""

    def with_adapter_at(self, scale: float) -> "LocalModel":
        """The same weights with the adapter at another scale, which it has from now on in both.

        Raises `UserError` where there is no adapter, or for a scale that is not finite.
        """
        if self.adapter is None:
            raise UserError(
                _("{name} has no LoRA adapter; give one with {lora}"), name=self.info.name, lora=Option("lora")
            )
        self.adapter.scale = scale
        choice = replace(self.choice, lora_scale=scale)
        return replace(self, choice=choice, info=replace(self.info, choice=choice))

    @property
    def stops(self) -> frozenset[int]:
        """Ids that end a text."""
        return self.tokenizer.stops

    def sequences(self, *, whole: bool = False) -> LocalSequences:
        """One sequence without ids; distributions are whole in any case."""
        return LocalSequences(self.transformer)
