"""What a model computes for a walk: next-token distributions, scores, charts, patched and unpatched.

`ModelReader` holds the model of a walk; a draft model, where there is one, is in `drafts`. It deals in ids and
distributions alone, wherever the model runs, but for `step`, patches and adapters, which need the weights here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from core.activations.apply import InstalledPatches
from core.activations.experiment import Experiment, Shift
from core.activations.patch import Patch
from core.activations.trace import Step, step_at
from core.errors import Part, UserError
from core.generation.batch import Batch
from core.generation.decided import decided
from core.generation.draw_context import draw_context
from core.generation.guides import Guides
from core.generation.token import Token
from core.loading.info import ModelInfo
from core.loading.model import Model, Sequences
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.draw import draw
from core.sampling.next_distribution import NextDistribution
from core.sampling.sampler import Sampler
from core.sampling.values import Chart, Draw, Score
from core.search.continuations import Reader
from core.world import truth

Answer = TypeVar("Answer")
SCORED_BEYOND = 131_072
"""Tokens of windows that are read at most to score a prompt that is longer than the context."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Takes the place of a model in a walk whose model is not on this machine. Nothing can be computed then."""

    info: ModelInfo
    """The model that the walk was made with."""
    reason: tuple[Part, ...]
    """Why it is not available, and the next step: the parts of a `UserError`."""
    patches: tuple[Patch, ...] = ()
    """The patches that were active."""

    def error(self) -> UserError:
        """The error for a request that needs the model."""
        return UserError(*self.reason)


class ModelReader:
    """A model that reads the ids of a walk.

    `length` in its methods counts the ids at the start of the walk that the model sees; the token at that position, if
    there is one, is the next one. The model sees no more than its context.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._ids: list[int] = []
        self._sequence = model.sequences()
        self._guides = Guides(model)
        self._installed: InstalledPatches | None = None
        self._experiment: Experiment | None = None
        """The walk without the patches, or where there are none, without the adapter."""
        self._latest: tuple[int, NextDistribution] | None = None
        """The last distribution, after its length."""
        self._truth = truth.known_truth(model.tokenizer)
        self._read_with(self._sequence, self._unread())

    @property
    def info(self) -> ModelInfo:
        """What is known about the model without its weights."""
        return self.model.info

    def moved(self, kept: int, ids: Sequence[int]) -> None:
        """The walk now consists of its first `kept` ids, which keep their cache, followed by `ids`, not read yet."""
        self._ids[kept:] = ids
        self._sequence.rewind(kept)
        if self._latest and self._latest[0] > kept:
            self._latest = None
        if ids:
            self._sequence.append([ids])
        if self._experiment:
            self._experiment.rewind(kept, ids)

    def read(self, length: int) -> Iterator[Progress]:
        """Read the first `length` ids, as far as that is not done, with a pause after each chunk."""
        position = length - 1
        # beyond the context only the last window is read, and elsewhere all of it is one request
        total = length if position < self.info.context and self.model.requests is None else 1
        if not self._sequence.knows(position):
            yield Progress(0, total)
            for done in self._sequence.read([position]):
                yield Progress(done, total)
        if self._experiment:
            for done in self._experiment.read(position):
                yield Progress(done, total)

    def ready(self, length: int) -> bool:
        """Whether the distribution after the first `length` ids can be had without waiting for another machine."""
        return self.model.requests is None or self._sequence.knows(length - 1)

    def begin(self, length: int) -> None:
        """Let a model that runs elsewhere begin to read the first `length` ids; nothing is waited for."""
        self._sequence.begin([length - 1])

    def draw(self, length: int, sampler: Sampler, u: float, context: DrawContext) -> Draw:
        """The token that `u` draws after the first `length` ids; asks for more of the distribution where it must.

        Raises `UserError` where no token can be drawn.
        """
        drawn, distribution = decided(
            self._sequence, length - 1, 0, self.distribution(length), lambda known: draw(known, sampler, u, context)
        )
        self._latest = length, distribution
        return drawn

    def distribution(self, length: int) -> NextDistribution:
        """The next-token distribution after the first `length` ids, which are read if necessary."""
        if self._latest is None or self._latest[0] != length:
            self._latest = length, self._sequence.distributions([length - 1])[0][0]
        return self._latest[1]

    def deepen(self, length: int) -> None:
        """Ask for as much of the distribution after the first `length` ids as can be known."""
        deeper = self._sequence.deeper(length - 1, 0, self.info.vocab_size)
        if deeper is not None:
            self._latest = length, deeper

    def scores(self, positions: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """The scores of the tokens at `positions`, each from 1 on, in groups; an empty group is only a pause.

        Positions beyond the context come first, and only as many as `SCORED_BEYOND` allows.
        """
        context, reach = self.info.context, self._sequence.reach
        beyond = [position for position in positions if position > context][: SCORED_BEYOND // reach]
        wanted = beyond + [position for position in positions if position <= context]
        yield from self._sequence.scores(wanted)

    def context(self, tokens: Sequence[Token], prompt_length: int, sampler: Sampler, redraw: int) -> DrawContext:
        """What the stages of a sampler may know after `tokens`, of which the first are the prompt."""
        return draw_context(tokens, prompt_length, sampler, redraw, self.model.tokenizer, self._guides)

    def chart(self, length: int, sampler: Sampler, count: int, context: DrawContext = DrawContext()) -> Chart:
        """The `count` likeliest tokens after the first `length` ids, and the next token of the walk if there is one.

        Candidates carry their probability without patches while patches are active, and their true probability where
        it is known.
        """
        distribution = self.distribution(length)
        seen = chart(distribution, sampler, count, self.model.tokenizer.piece, self._next_id(length), context)
        if self._experiment:
            seen = self._experiment.with_unpatched(seen, length - 1)
        if self._truth and isinstance(distribution, Distribution):
            return self._truth.annotate(seen, distribution, self._ids[:length])
        return seen

    def shift(self, length: int) -> Shift | None:
        """What the patches make of the next token after the first `length` ids; None while no patch is active."""
        if self._experiment is None or not self.patches or not length:
            return None
        return self._experiment.shift(self.distribution(length), length - 1)

    # What needs the weights on this machine --------------------------------------------------------------------------

    def step(self, length: int) -> Step:
        """The forward pass over the first `length` ids, for a lens to look into."""
        return step_at(self.model, self._ids[:length], self._sequence, self._next_id(length))

    def batch(self, tokens: Sequence[Token], prompt_length: int, sampler: Sampler, samples: int) -> Batch:
        """`samples` continuations of `tokens`, which are the first of the walk and are not read again."""
        ids = [token.id for token in tokens]
        return Batch(self.model, ids, sampler, samples, self._sequence, tokens=tokens, prompt_length=prompt_length)

    def continuations(self, length: int, width: int) -> Reader:
        """A reader of continuations of the first `length` ids, which are not read again."""
        return Reader(self.model, self._ids[:length], width, self._sequence)

    @property
    def patches(self) -> tuple[Patch, ...]:
        """The patches that are active in the model."""
        return self._installed.patches if self._installed else ()

    def unpatched(self) -> AbstractContextManager[None]:
        """The model without the active patches, within the block."""
        return self._installed.suspended() if self._installed else nullcontext()

    def without_swaps(self, begin: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """The answers of an experiment that tries swaps: where a swap is active, on the model without any patch."""
        swaps = any(patch.kind == "swap" for patch in self.patches)
        return self.without_patches(begin) if swaps else begin()

    def without_patches(self, begin: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """The answers of an experiment on the unpatched model; the patches act again at every pause."""
        with self.unpatched():
            answers = begin()
        while True:
            with self.unpatched():
                answer = next(answers, None)
            if answer is None:
                return
            yield answer

    def patch(self, patches: Sequence[Patch]) -> None:
        """Replace the active patches; the ids must be read again under them.

        Without patches the model computes bit for bit what it did before. Raises `UserError` for a part that the model
        does not have.
        """
        for each in patches:
            each.check(self.model.transformer.config)
        without = self._experiment.unpatched if self._installed and self._experiment else self._sequence
        if self._installed:
            self._installed.remove()
        self._installed = InstalledPatches(self.model, patches) if patches else None
        if patches:
            self._read_with(self._unread(), without)
        else:
            self._read_with(without, self._unread())

    def scale_adapter(self, scale: float) -> None:
        """Multiply what the adapter adds by `scale`; the ids must be read again.

        At 0 the model computes bit for bit what it does without the adapter. Raises `UserError` where it has none.
        """
        plain = self._experiment.unpatched if self._experiment and not self._installed else self._unread()
        self.model = self.model.with_adapter_at(scale)
        if scale or self._installed:
            self._read_with(self._unread(), self._unread() if self._installed else plain)
        else:
            self._read_with(plain, self._unread())

    def _read_with(self, sequence: Sequences, without: Sequences) -> None:
        """Read `sequence` from now on, and where patches or the adapter act, `without` them the other one beside it."""
        adapter = self.model.adapter
        change = self._installed or (adapter if adapter and adapter.scale else None)
        self._sequence, self._latest, self._guides = sequence, None, Guides(self.model)
        self._experiment = Experiment(change, without) if change else None

    def _unread(self) -> Sequences:
        """The ids of the walk, of which nothing is read yet."""
        sequence = self.model.sequences()
        if self._ids:
            sequence.append([self._ids])
        return sequence

    def _next_id(self, length: int) -> int | None:
        return self._ids[length] if length < len(self._ids) else None
