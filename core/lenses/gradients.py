"""Input attributions: how much each token of the prompt adds to the measure, by gradients.

`core.causal.integrated` says what is computed, and cites it.
"""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from core.activations.trace import Step, ids_of
from core.causal.backward import last_logits, residual_streams, stream_of, token_embedding
from core.causal.integrated import PathIntegral, input_x_gradient, integrated_gradients
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Table
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.errors import UserError
from core.language import _
from core.progress import Progress
from core.tokenizers.tokenizer import piece_text

Baseline = Literal["sink", "mean", "zero", "end", "corrupt"]
"""What a token's embedding is compared with: zeros, but the first token's with itself (sink); the mean of all
embeddings; zeros; the embedding of the token that ends a text; or that of the corrupt prompt at the same position.

A trained model lets its heads attend to the first token where they find nothing, an attention sink (Xiao et al. 2024).
Without it m jumps many times along the path, so that an integral takes several times as many gradients.
"""
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
MOST_TOKENS = 1024
ROWS_AT_ONCE = 4096
"""Rows of the embedding matrix that a mean is taken over at once."""


@dataclass(frozen=True, slots=True)
class TokenAttribution:
    """What one token adds to the measure, in nats; below zero it speaks against the target."""

    position: int
    """In the model's window, from 0."""
    piece: bytes
    integrated: float | None
    """Integrated gradients; None until they are computed."""
    input_x_gradient: float


@dataclass(frozen=True, slots=True)
class InputAttributions:
    """The attributions of all tokens, and how far integrated gradients are from complete."""

    asked: Measured
    tokens: tuple[TokenAttribution, ...]
    baseline: Baseline
    baseline_value: float | None
    """The measure of the baseline, in nats."""
    total: float
    """The sum of the integrated gradients."""
    error: float | None
    """`total` less the rise of the measure from the baseline to the prompt, which it is to equal; in nats."""
    error_share: float | None
    """The size of the error as a share of that rise."""
    steps: int
    """Gradients that were taken along the path."""


def gradients(
    step: Step,
    question: CausalQuestion = CausalQuestion(),
    baseline: Baseline | None = None,
    steps: int | None = None,
) -> Iterator[Progress | InputAttributions]:
    """Input × gradient, then ever more precise integrated gradients, until they are complete within 1 %.

    Without `baseline` it is the corrupt prompt where the question has one of as many tokens, else `sink`, or zero for
    one token. With `steps` the path has that many points, which may be too few to be complete. Raises `UserError` for a
    baseline that does not exist, for too long a prompt, and where a number is not finite.
    """
    if baseline is None:
        baseline = _completing(step, question)
    if baseline not in BASELINES:
        raise UserError(
            _("{baseline!r} is not a baseline; choose one of {choices}"),
            baseline=baseline,
            choices=", ".join(BASELINES),
        )
    if steps is not None and not 1 <= steps <= 10_000:
        raise UserError(_("the path of integrated gradients must have 1 to 10,000 steps, not {steps:,}"), steps=steps)
    if len(step.ids) > MOST_TOKENS:
        raise UserError(
            _("the prompt has {count:,} tokens, but gradients are computed for at most {limit:,}; shorten it"),
            limit=MOST_TOKENS,
            count=len(step.ids),
        )
    transformer = step.model.transformer
    embedding = token_embedding(transformer, ids_of(step))[0]
    start = yield from _baseline(step, question, baseline, embedding)
    asked = yield from _asked(step, question, embedding)
    measure = asked.target.measure
    _unused, products = yield from input_x_gradient(transformer, embedding, measure)
    tokens = tuple(
        TokenAttribution(position, piece, None, product)
        for position, (piece, product) in enumerate(zip(step.pieces, products.tolist(), strict=True))
    )
    answer = InputAttributions(asked, tokens, baseline, None, 0.0, None, None, 0)
    yield answer
    for found in integrated_gradients(transformer, embedding, start, measure, steps=steps):
        yield _with(answer, found) if isinstance(found, PathIntegral) else found


def _completing(step: Step, question: CausalQuestion) -> Baseline:
    """The baseline from which integrated gradients take the fewest steps."""
    if len(question.corrupt) == len(step.ids) and tuple(step.ids) != question.corrupt:
        return "corrupt"
    return "sink" if len(step.ids) > 1 else "zero"


def table(answer: InputAttributions) -> Table:
    """One row for each token."""
    rows = tuple(
        (token.position, piece_text(token.piece), token.integrated, token.input_x_gradient) for token in answer.tokens
    )
    return Table(("position", "token", "integrated", "input_x_gradient"), rows)


def _with(answer: InputAttributions, found: PathIntegral) -> InputAttributions:
    values = found.attributions.tolist()
    return replace(
        answer,
        tokens=tuple(replace(token, integrated=value) for token, value in zip(answer.tokens, values, strict=True)),
        baseline_value=found.baseline_measure,
        total=sum(values),
        error=found.error,
        error_share=found.error_share,
        steps=found.steps,
    )


def _asked(step: Step, question: CausalQuestion, embedding: Tensor) -> Generator[Progress, None, Measured]:
    """The question, measured with the weights in float32."""
    transformer = step.model.transformer
    streams = yield from residual_streams(transformer, stream_of(transformer, embedding[None]).detach())
    logits = last_logits(transformer, streams[-1])[0].detach()
    asked = question.measured(logits, step.model.tokenizer.piece)
    if not math.isfinite(asked.value):
        raise UserError(
            _("the measure is {value} here, which is not finite and has no gradient; ask about other tokens"),
            value=asked.value,
        )
    return asked


def _baseline(
    step: Step, question: CausalQuestion, baseline: Baseline, embedding: Tensor
) -> Generator[Progress, None, Tensor]:
    """The embeddings that the path begins with, [T, width]."""
    transformer = step.model.transformer
    match baseline:
        case "zero":
            return torch.zeros_like(embedding)
        case "sink":
            return torch.cat((embedding[:1], torch.zeros_like(embedding[1:])))
        case "mean":
            mean = yield from _mean_embedding(transformer)
            return mean.to(embedding).expand_as(embedding)
        case "end":
            ids = (step.model.tokenizer.end_of_text,) * len(step.ids)
        case "corrupt":
            ids = question.aligned_ids(step.ids, step.model.transformer.config.context)
    return token_embedding(transformer, torch.tensor([ids], device=embedding.device))[0]


def _mean_embedding(transformer: Transformer) -> Generator[Progress, None, Tensor]:
    """The mean row of the embedding matrix, [width], float32."""
    count = transformer.config.vocab_size
    total = torch.zeros(transformer.config.table_dim)
    for first in range(0, count, ROWS_AT_ONCE):
        total = total + matrix(transformer.embed, first, min(first + ROWS_AT_ONCE, count)).sum(0)
        yield Progress(min(first + ROWS_AT_ONCE, count), count)
    return total / count
