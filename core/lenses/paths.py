"""Path patching as a lens: what every sender writes directly to one receiver; 0 is the corrupt run, 1 the clean one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from core.activations.trace import Step
from core.causal.path_patching import RECEIVERS, Receiver, Sender, check, path_measures, senders
from core.causal.prompt_pair import PromptPair, read_pair
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Cell, Table
from core.errors import UserError
from core.language import _
from core.progress import Progress

TOKENS_AT_ONCE = 480
"""Tokens of all senders that go through a block together."""
Row = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Paths:
    """The normalized measure with the direct path from each sender to the receiver as in the clean run."""

    asked: Measured
    """The question after the clean prompt."""
    clean: float
    """m after the clean prompt, in nats."""
    corrupt: float
    """m after the corrupt prompt, in nats."""
    receiver: str
    """As it is asked for: `final`, `mlp 4`, `q 9.6`."""
    label: str
    """The receiver in words."""
    embedding: float | None
    """The path from the embedding; None where it is not computed yet."""
    heads: tuple[Row, ...]
    """The path from each head, [layer × head], of the layers before the receiver; None as above."""
    mlp: Row
    """The path from each MLP, [layer]; empty where the model has none. None where it comes after the receiver, too."""


@torch.inference_mode()
def paths(
    step: Step, question: CausalQuestion = CausalQuestion(), receiver: str = "final"
) -> Iterator[Progress | Paths]:
    """Patch the direct path from every sender to a receiver: `final`, `mlp LAYER`, or `q`, `k` or `v` `LAYER.HEAD`.

    Raises `UserError` for a receiver that does not exist, and where the prompts cannot be compared.
    """
    reader = receiver_of(receiver)
    pair = yield from read_pair(step, question)
    check(pair, reader)
    every = senders(pair, reader)
    size = max(1, TOKENS_AT_ONCE // (pair.length - pair.first))
    found: dict[Sender, float] = {}
    asked = question.measured(pair.clean.logits, step.model.tokenizer.piece)
    answer = Paths(asked, pair.high, pair.low, receiver, reader.label, None, (), ())
    yield _filled(answer, pair, every, found)
    for start in range(0, len(every), size):
        measures = path_measures(pair, reader, every[start : start + size])
        while True:
            try:
                next(measures)
            except StopIteration as end:
                found |= end.value
                break
            yield Progress(len(found), len(every))
        yield _filled(answer, pair, every, found)


def table(answer: Paths) -> Table:
    """One row for each sender."""
    rows: list[tuple[Cell, ...]] = [("embedding", None, None, answer.embedding)]
    for layer, values in enumerate(answer.heads):
        rows += [("head", layer, head, value) for head, value in enumerate(values)]
    rows += [("mlp", layer, None, value) for layer, value in enumerate(answer.mlp) if value is not None]
    return Table(("sender", "layer", "head", "value"), tuple(rows))


def receiver_of(text: str) -> Receiver:
    """The receiver that a text names. Raises `UserError` where it names none."""
    part, _unused, place = text.strip().partition(" ")
    numbers = place.strip().split(".") if place.strip() else []
    wanted = {"final": 0, "mlp": 1}.get(part, 2)
    known = part in RECEIVERS and len(numbers) == wanted and all(n.isascii() and n.isdecimal() for n in numbers)
    if not known or any(len(n) > 6 for n in numbers):
        raise UserError(
            _("{text!r} is not a receiver; choose final, or one such as 'mlp 4', 'q 9.6', 'k 9.6' or 'v 9.6'"),
            text=text[:40],
        )
    return Receiver(part, *map(int, numbers))  # type: ignore[arg-type]  # one of RECEIVERS


def _filled(answer: Paths, pair: PromptPair, every: list[Sender], found: dict[Sender, float]) -> Paths:
    """The answer with the paths found so far; a layer whose heads do not send has no row."""
    config = pair.transformer.config
    layers = range(1 + max((sender.layer for sender in every if sender.part == "head"), default=-1))
    return replace(
        answer,
        embedding=found.get(Sender("embedding")),
        heads=tuple(tuple(found.get(Sender("head", n, head)) for head in range(config.heads)) for n in layers),
        mlp=tuple(found.get(Sender("mlp", n)) for n in layers) if config.feed_forward else (),
    )
