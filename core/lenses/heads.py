"""Scores of all heads: what they attend to, whether they copy, and from which earlier heads one reads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor

from core.activations.trace import Step
from core.causal.head_weights import Composition, composition, copying, head_matrices, receives, token_map, writes
from core.causal.heads import Grid, head_scores, repeated_tokens
from core.causal.table import Cell, Table
from core.engine.config import ModelConfig
from core.errors import UserError
from core.language import N_, _
from core.progress import Progress

Text = Literal["random", "prompt"]
Part = Literal["attention", "copying", "composition"]


@dataclass(frozen=True, slots=True)
class HeadsView:
    """Scores of all heads; `core.causal.heads` and `core.causal.head_weights` define them."""

    measured_on: Text
    """What the attention scores are measured on: random tokens that are repeated once, or the prompt."""
    positions: int
    """T, its length; 0 where they were not asked for."""
    queries: tuple[int, int, int]
    """How many positions have a key for `previous`, `duplicate` and `induction`."""
    previous: Grid
    duplicate: Grid
    induction: Grid
    copying: Grid
    """From -1 to 1."""
    layer: int
    """The layer of the receiving head of the composition; -1 where there is none."""
    head: int
    kind: Composition
    """What it reads for: its queries, keys or values."""
    composition: Grid
    """Of each earlier head with the receiving head, [layer][heads]."""
    independent: float
    """The composition score of independent directions, 1/√d."""
    note: str
    """What was left out; empty where nothing was."""


def heads(
    step: Step,
    measured_on: Text = "random",
    only: Part | None = None,
    layer: int | None = None,
    head: int | None = None,
    kind: Composition = "k",
    seed: int = 0,
) -> Iterator[Progress | HeadsView]:
    """The attention scores, then composition, then copying, or `only` one part of these; ever more complete answers.

    `layer` and `head` say which head receives; without them it is the head with the largest induction score. Raises
    `UserError` for a model without heads, and for a head that it does not have or that has none before it.
    """
    transformer, config = step.model.transformer, step.model.transformer.config
    _check(step.model.info.name, config, measured_on, kind, layer, head)
    unknown: Grid = ((None,) * config.heads,) * config.blocks
    view = HeadsView(
        measured_on=measured_on,
        positions=0,
        queries=(0, 0, 0),
        previous=unknown,
        duplicate=unknown,
        induction=unknown,
        copying=unknown,
        layer=-1 if layer is None else layer,
        head=0 if head is None else head,
        kind=kind,
        composition=unknown[: layer or 0],
        independent=config.embed_dim**-0.5,
        note=_note(config),
    )
    if only in (None, "attention") or (only == "composition" and layer is None):
        stops = step.model.stops
        ids = list(step.ids)
        if measured_on == "random":
            ids = repeated_tokens(
                config.vocab_size, config.context, seed, stops if config.vocab_size > 99 else frozenset()
            )
        for scores in head_scores(transformer, ids):
            view = replace(view, **{name: getattr(scores, name) for name in SCORES})
            yield view
        if view.layer < 0:
            view = _with_receiver(view)
    if only in (None, "composition"):
        for rows in _composition(step, view):
            view = replace(view, composition=rows + unknown[len(rows) : view.layer])
            yield view
    if only in (None, "copying"):
        yield from _copying(step, view, unknown)


def table(answer: HeadsView) -> Table:
    """One row for each head; its composition is that with the receiving head, of earlier layers only."""
    names = ("induction", "previous", "duplicate", "copying")
    rows: list[tuple[Cell, ...]] = []
    for layer, heads_of_layer in enumerate(answer.induction):
        for head in range(len(heads_of_layer)):
            scores = [getattr(answer, name)[layer][head] for name in names]
            rows.append((layer, head, *scores, answer.composition[layer][head] if layer < answer.layer else None))
    receiver = f"{answer.kind}_composition_with_{answer.layer}.{answer.head}" if answer.layer >= 1 else "composition"
    return Table(("layer", "head", *names, receiver), tuple(rows))


SCORES = ("positions", "queries", "previous", "duplicate", "induction")


def _check(name: str, config: ModelConfig, text: Text, kind: Composition, layer: int | None, head: int | None) -> None:
    if not config.blocks:
        raise UserError(_("{name} has no attention heads; choose model3 or a later model"), name=name)
    if text not in get_args(Text):
        raise UserError(
            _("the text to score heads on must be {choices}, not {text!r}"),
            choices=" or ".join(get_args(Text)),
            text=text,
        )
    if kind not in get_args(Composition):
        raise UserError(
            _("composition must be one of {choices}, not {kind!r}"), choices=", ".join(get_args(Composition)), kind=kind
        )
    for what, value, count in ((N_("layer"), layer, config.blocks), (N_("head"), head, config.heads)):
        if value is not None and not 0 <= value < count:
            raise UserError(
                _("there is no {what} {value}; {name} has {count}, numbered from 0 to {last}"),
                what=_(what),
                value=value,
                name=name,
                count=count,
                last=count - 1,
            )
    if layer == 0:
        raise UserError(_("no head is earlier than layer 0, so its heads read from none; choose a later layer"))


def _with_receiver(view: HeadsView) -> HeadsView:
    """The view with the head of the largest induction score as the receiver, layer 0 left out."""
    scores = {(n, m): value or 0.0 for n, row in enumerate(view.induction) for m, value in enumerate(row) if n}
    if not scores:
        return view
    layer, head = max(scores, key=lambda each: scores[each])
    return replace(view, layer=layer, head=head)


def _composition(step: Step, view: HeadsView) -> Iterator[Grid]:
    """The scores with the receiving head, after each earlier layer one row more."""
    if view.layer < 1:
        return
    transformer, rows = step.model.transformer, list[tuple[float, ...]]()
    receiver = receives(head_matrices(transformer, view.layer), view.kind)[view.head :][:1]  # [1, d, c]
    for layer in range(view.layer):
        scores = composition(writes(head_matrices(transformer, layer)), receiver)  # [h, 1]
        rows.append(tuple(scores[:, 0].tolist()))
        yield tuple(rows)


def _copying(step: Step, view: HeadsView, unknown: Grid) -> Iterator[Progress | HeadsView]:
    transformer, tokens, rows = step.model.transformer, Tensor(), list[tuple[float, ...]]()
    for done in token_map(transformer):
        if isinstance(done, Tensor):
            tokens = done
        else:
            yield Progress(done, transformer.config.vocab_size)
    for layer in range(transformer.config.blocks):
        rows.append(tuple(copying(head_matrices(transformer, layer), tokens)))
        yield replace(view, copying=(*rows, *unknown[len(rows) :]))


def _note(config: ModelConfig) -> str:
    """What the scores of the weights leave out in this model."""
    left_out = {
        _("positions"): config.positions != "none",
        _("the norms of queries and keys"): config.qk_norm != "none",
        _("the norm of the embedding"): config.embed_norm,
        _("the activation before the unembedding"): config.final_activation,
        _("biases"): "qkv" in config.biases or "out" in config.biases,
    }
    words = [name for name, present in left_out.items() if present]
    return _("copying and composition leave out {parts}").format(parts=", ".join(words)) if words else ""
