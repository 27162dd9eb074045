"""A clean and a corrupt prompt of the same length: what every block computes for each, and the measure of each.

Shapes: T tokens, d embedding size, h heads, c head size, N blocks.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.activations.trace import TOKENS_PER_PAUSE, Step, empty_cache, ids_of, recording
from core.causal.question import CausalQuestion
from core.causal.target import Target
from core.engine.cache import KVCache, LayerCache
from core.engine.model import Transformer
from core.errors import UserError
from core.language import _
from core.progress import Progress

MAX_TOKENS = 512
"""Tokens of a prompt at most: the activations of both runs stay in memory."""
LEAST = 1e-3
"""The least difference of the two measures, in nats, that patched measures are compared with."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a model computes for one prompt."""

    streams: tuple[Tensor, ...]
    """The residual stream before each block and after the last one, N + 1 of [T, d]."""
    attention: tuple[Tensor, ...]
    """What the attention of each block adds to the residual stream, N of [T, d]."""
    mlp: tuple[Tensor, ...]
    """What the MLP of each block adds, N of [T, d]; empty where the model has none."""
    heads: tuple[Tensor, ...]
    """The outputs of the heads of each block side by side, N of [T, h·c]: the input of the output projection."""
    cache: KVCache
    logits: Tensor
    """After the last token, [V], float32."""


@dataclass(frozen=True, slots=True)
class PromptPair:
    """The two runs of an experiment, and what it measures."""

    transformer: Transformer
    target: Target
    clean: Run
    corrupt: Run
    first: int
    """The first position at which the prompts differ; before it both runs are equal."""
    length: int
    """T, the tokens of each prompt."""

    @property
    def high(self) -> float:
        """m of the clean run, in nats."""
        return self.target.measure(self.clean.logits).item()

    @property
    def low(self) -> float:
        """m of the corrupt run, in nats."""
        return self.target.measure(self.corrupt.logits).item()

    def normalized(self, measure: float) -> float:
        """(m(patched) − m(corrupt)) / (m(clean) − m(corrupt)): 0 is the corrupt run, 1 the clean one."""
        return (measure - self.low) / (self.high - self.low)

    def measures(self, streams: Tensor) -> list[float]:
        """m of each of n sequences that leave the last block with `streams` [n, t, d]."""
        last = streams[:, -1:] if len(self.transformer.blocks) else streams
        logits = self.transformer.logits(self.transformer.final(last)[:, -1])
        return self.target.measure(logits.float()).tolist()


class SharedPast(LayerCache):
    """The keys and values of one sequence before some position, shared by all rows of a batch that go on from there."""

    def __init__(self, layer: LayerCache, length: int) -> None:
        self.keys, self.values, self.span = layer.keys[:, :, :length], layer.values[:, :, :length], layer.span

    def extend(self, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of the past and the new ones, each [B, kv heads, T, head size]; nothing is kept."""
        rows = len(keys)
        return (
            torch.cat((self.keys.expand(rows, -1, -1, -1), keys), 2),
            torch.cat((self.values.expand(rows, -1, -1, -1), values), 2),
        )


@torch.inference_mode()
def read_pair(step: Step, question: CausalQuestion) -> Generator[Progress, None, PromptPair]:
    """Run a model on the ids of a step, the clean prompt, and on the corrupt ones of a question.

    Raises `UserError` where the model has no blocks, for prompts that cannot be compared position by position or are
    too long, and where the two measures are equal.
    """
    if not step.model.transformer.config.blocks:
        raise UserError(_("{name} has no blocks to patch; choose model3 or a later model"), name=step.model.info.name)
    corrupt = question.aligned_ids(step.ids, step.model.transformer.config.context)
    length = len(corrupt)
    if length > MAX_TOKENS:
        raise UserError(
            _("the prompts have {length:,} tokens, but at most {limit} can be patched one by one; shorten them"),
            length=length,
            limit=MAX_TOKENS,
        )
    first = next(n for n, (a, b) in enumerate(zip(step.ids, corrupt, strict=True)) if a != b)
    clean = yield from _read(replace(step, cache=None), 0, 2 * length)
    other = yield from _read(replace(step, ids=corrupt, cache=None), length, 2 * length)
    pair = PromptPair(step.model.transformer, question.target_at(clean.logits), clean, other, first, length)
    if not abs(pair.high - pair.low) >= LEAST * max(1.0, abs(pair.high)):
        measures = f"{pair.high:+.3f} and {pair.low:+.3f}"
        raise UserError(
            _(
                "the measure is the same after both prompts ({measures}), so there is no difference to explain; "
                "choose two tokens whose logits differ between the prompts"
            ),
            measures=measures,
        )
    return pair


def _read(step: Step, done: int, total: int) -> Generator[Progress, None, Run]:
    """Read the ids of a step, a few tokens at a time; progress counts tokens from `done` on."""
    transformer, length = step.model.transformer, len(step.ids)
    blocks = [f"blocks.{n}" for n in range(transformer.config.blocks)]
    inputs = [*blocks, "norm", *(f"{block}.attention.out" for block in blocks)]
    outputs = [f"{block}.attention" for block in blocks]
    outputs += [f"{block}.feed_forward" for block in blocks if transformer.config.feed_forward]
    names = [f"{name}<" for name in inputs] + [f"{name}>" for name in outputs]
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    cache, ids = empty_cache(step), ids_of(step)
    yield Progress(done, total)
    for start in range(0, length, TOKENS_PER_PAUSE):
        with recording(transformer, [*inputs, *outputs]) as trace:
            transformer.hidden(ids[:, start : start + TOKENS_PER_PAUSE], cache)
        for name in inputs:
            kept[f"{name}<"].append(trace.inputs[name][0][0])
        for name in outputs:
            kept[f"{name}>"].append(trace.outputs[name][0])
        yield Progress(done + min(start + TOKENS_PER_PAUSE, length), total)
    whole = {name: torch.cat(parts) for name, parts in kept.items()}
    # A patch of a position is in the recorded input already; block 0 applies it again when it runs.
    streams = (transformer.embedded(ids, 0)[0], *(whole[f"{name}<"] for name in [*blocks[1:], "norm"]))
    logits = transformer.logits(transformer.final(streams[-1][None, -1:])[:, -1])
    return Run(
        streams,
        tuple(whole[f"{block}.attention>"] for block in blocks),
        tuple(whole[f"{block}.feed_forward>"] for block in blocks if transformer.config.feed_forward),
        tuple(whole[f"{block}.attention.out<"] for block in blocks),
        cache,
        logits[0].float(),
    )
