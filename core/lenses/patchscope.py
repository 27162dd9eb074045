"""The patchscope: what another prompt says when this position's stream is put into it (Ghandeharioun et al. 2024)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.activations.trace import Step, logits_from_residual, require_finite, residual_streams
from core.causal.patchscope import patched_runs
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Table
from core.causal.target_prompts import IDENTITY, PLACE
from core.errors import Option, UserError
from core.language import _
from core.lenses.logit import TokenShare
from core.progress import Progress
from core.sampling.bounds import low
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits
from core.tokenizers.tokenizer import piece_text

TOP = 5


@dataclass(frozen=True, slots=True)
class PatchscopeRow:
    """What the target prompt says with the stream of one layer."""

    name: str
    """The layer of the stream: `embedding`, `block 0` …"""
    into: str
    """After which layer of the target prompt it was put."""
    top: tuple[TokenShare, ...]
    """The likeliest tokens after the target prompt."""
    generated: tuple[bytes, ...]
    """What the model writes on, always the likeliest token."""
    target_probability: float
    """Of the question's token A."""
    target_rank: int
    """How many tokens are likelier than A."""
    kl_bits: float
    """KL(patched ‖ not patched) of the token after the target prompt, in bits."""


@dataclass(frozen=True, slots=True)
class Patchscope:
    """The streams of all layers of one position, each put into the target prompt."""

    asked: Measured
    piece: bytes
    """The token at the position whose streams these are."""
    prompt: tuple[bytes, ...]
    """The tokens of the target prompt."""
    position: int
    """Which of them is patched, from 0."""
    unpatched: tuple[bytes, ...]
    """What the model writes after the target prompt without a patch."""
    rows: tuple[PatchscopeRow, ...]
    """From the embedding to the last block, as far as they are computed."""
    total: int
    """How many rows there will be."""
    note: str
    """What of the target prompt was left out; empty where nothing was."""


def patchscope(
    step: Step,
    question: CausalQuestion = CausalQuestion(),
    prompt: str = IDENTITY,
    into: int | None = None,
    count: int = 4,
) -> Iterator[Progress | Patchscope]:
    """Put the stream after each layer into `prompt`, at the token with a `?`, and read `count` tokens.

    It is put after the same number of blocks, or after `into` of them: 0 is the embedding. Raises `UserError` for a
    model without blocks, an empty prompt, and a layer that the model does not have.
    """
    model = step.model
    transformer, piece, blocks = model.transformer, model.tokenizer.piece, model.transformer.config.blocks
    if not blocks:
        raise UserError(
            _("{name} has no blocks, so it has no layers to read a stream from; choose model3 or a later model"),
            name=model.info.name,
        )
    if into is not None and not 0 <= into <= blocks:
        raise UserError(
            _("{option} must be a whole number from 0 to {blocks} (the number of blocks), not {value}"),
            option=Option("into"),
            blocks=blocks,
            value=into,
        )
    count = max(1, min(count, model.info.context // 2))
    ids = model.tokenizer.encode(prompt)
    if not ids:
        raise UserError(_("the target prompt is empty; write one with a ? at the token that receives the stream"))
    kept = ids[-(model.info.context + 1 - count) :]
    note = (
        _("only the last {count} of {count_2} tokens fit into the context").format(count=len(kept), count_2=len(ids))
        if len(kept) < len(ids)
        else ""
    )
    pieces = tuple(map(piece, kept))
    position = max((n for n, each in enumerate(pieces) if PLACE.encode() in each), default=len(kept) - 1)
    streams = yield from residual_streams(step, 1)
    states, names = streams[:, 0], ("embedding", *(f"block {n}" for n in range(blocks)))
    with torch.inference_mode():
        own = logits_from_residual(transformer, states[-1:])[0].cpu()
    require_finite("unembed", own)
    asked = question.measured(own, piece)
    depths = list(range(blocks + 1)) if into is None else [into] * (blocks + 1)
    rows: list[PatchscopeRow] = []
    plain: tuple[Tensor, tuple[int, ...]] | None = None
    every = torch.cat((states[:1], states)), [None, *depths]  # first the prompt as it is
    for runs in patched_runs(transformer, kept, position, *every, count):
        if runs is None:
            yield Progress(len(rows), len(names))
            continue
        for run in zip(runs.logits, runs.generated, strict=True):
            if plain is None:
                plain = run
                continue
            at = len(rows)
            rows.append(_row(names[at], names[depths[at]], *run, plain[0], asked.target.id, piece))
        yield Progress(len(rows), len(names))
        if rows and plain:
            unpatched = tuple(map(piece, plain[1]))
            last = piece(step.ids[-1])
            yield Patchscope(asked, last, pieces, position, unpatched, tuple(rows), len(names), note)


def _row(
    name: str,
    into: str,
    logits: Tensor,
    generated: tuple[int, ...],
    plain: Tensor,
    target: int,
    piece: Callable[[int], bytes],
) -> PatchscopeRow:
    distribution = Distribution(logits)
    score = distribution.score(target)
    return PatchscopeRow(
        name=name,
        into=into,
        top=tuple(TokenShare(id, piece(id), float(distribution.shares[id])) for id in distribution.head(TOP).tolist()),
        generated=tuple(map(piece, generated)),
        target_probability=low(score.probability),  # a model on this machine: no number is bounds
        target_rank=int(low(score.rank)),
        kl_bits=kl_bits(logits, plain),
    )


def table(answer: Patchscope) -> Table:
    """A row for each layer: what is written on, the likeliest token, the target, and how much the patch changes."""
    columns = (
        "stream after",
        "put after",
        "text",
        "token",
        "probability",
        "target probability",
        "target rank",
        "KL bits",
    )
    rows = tuple(
        (
            row.name,
            row.into,
            piece_text(b"".join(row.generated)),
            piece_text(row.top[0].piece),
            row.top[0].probability,
            row.target_probability,
            row.target_rank + 1,
            row.kl_bits,
        )
        for row in answer.rows
    )
    return Table(columns, rows)
