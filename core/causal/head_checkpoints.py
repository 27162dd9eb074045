"""The scores of heads over the checkpoints of a training, or over several models such as revisions of one.

`previous` and `induction` are measured on random tokens that are repeated, as `core.causal.heads` says. `copied`, the
attention to earlier copies of the token that comes next, needs text of the training's kind: what comes after its last
step. So it is known for checkpoints of our own trainings, and equals what the training itself reports.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from core.causal.heads import Grid, head_moment, head_scores, repeated_tokens
from core.causal.table import Table
from core.errors import UserError
from core.language import _
from core.loading import catalog
from core.loading.checkpoints import folders
from core.loading.checkpoints.card import read_card
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.progress import Progress, Report
from core.training.trainer import OBSERVED, corpus


@dataclass(frozen=True, slots=True)
class CheckpointHeads:
    """The scores of all heads of one checkpoint, each from 0 to 1."""

    name: str
    """The model's name."""
    step: int | None
    """The steps it was trained for; None where that is unknown."""
    previous: Grid
    induction: Grid
    copied: Grid
    """None for each head where no text of the training is known."""


def names_of(name: str) -> list[str]:
    """The models that a name means: of a training of one's own all checkpoints, in order; else the model itself."""
    path = folders.find(name)
    if path is None or path.name != folders.LATEST:
        return [name]
    return [folders.name(each) for _, each in folders.steps(path.parent)] or [name]


def head_checkpoints(
    names: Sequence[str], choice: ModelChoice, report: Report | None = None
) -> Iterator[Progress | tuple[CheckpointHeads, ...]]:
    """The scores of each model that `names` mean, loaded one after the other as `choice` says; ever more of them.

    Raises `UserError` for a model that cannot be loaded, has no heads, is computed elsewhere, or has another number of
    heads than the first.
    """
    wanted = [each for name in names for each in names_of(name)]
    found: list[CheckpointHeads] = []
    texts: dict[Recipe, Tensor] = {}
    for name in wanted:
        if catalog.is_served(name):
            raise UserError(
                _("{name} runs on another machine, which does not send its attention; choose a model that runs here"),
                name=name,
            )
        model = load_model(replace(choice, name=name), report)
        found.append(_scores(model, name, texts))
        shapes = [(len(each.previous), len(each.previous[0])) for each in (found[0], found[-1])]
        if shapes[0] != shapes[1]:
            (blocks, heads), (others, its) = shapes
            raise UserError(
                _(
                    "{name} has {blocks} × {heads} heads, but {first} has {first_blocks} × {first_heads}; choose "
                    "checkpoints of one model"
                ),
                name=name,
                blocks=others,
                heads=its,
                first=found[0].name,
                first_blocks=blocks,
                first_heads=heads,
            )
        yield tuple(found)
        yield Progress(len(found), len(wanted))


def table(answer: Sequence[CheckpointHeads]) -> Table:
    """One row for each head of each checkpoint."""
    rows = tuple(
        (
            each.name,
            each.step,
            layer,
            head,
            *(grid[layer][head] for grid in (each.previous, each.induction, each.copied)),
        )
        for each in answer
        for layer, row in enumerate(each.previous)
        for head in range(len(row))
    )
    return Table(("model", "step", "layer", "head", "previous", "induction", "copied"), rows)


def _scores(model: Model, name: str, texts: dict[Recipe, Tensor]) -> CheckpointHeads:
    """The scores of one model; `texts` keeps the text of each recipe."""
    transformer, config = model.transformer, model.transformer.config
    path = catalog.trained(name)
    card = read_card(path) if path else None
    if card is None:
        without = model.stops if config.vocab_size > 99 else frozenset()
        *_unused, scores = head_scores(transformer, repeated_tokens(config.vocab_size, config.context, without=without))
        unknown: Grid = ((None,) * config.heads,) * config.blocks
        return CheckpointHeads(name, None, scores.previous, scores.induction, unknown)
    if card.recipe not in texts:
        texts[card.recipe] = _unseen(card.recipe, config.context)
    moment = head_moment(transformer, texts[card.recipe])
    if moment is None:
        raise UserError(_("{name} has no attention heads; choose model3 or a later model"), name=name)
    return CheckpointHeads(name, card.step, moment.previous, moment.induction, moment.copied)


def _unseen(recipe: Recipe, context: int) -> Tensor:
    """Text of the kind that a training learns, the batch after its last step, [B, T]."""
    *_unused, text = corpus(recipe)
    assert not isinstance(text, Progress)
    return text.batch(recipe.steps, OBSERVED, context)[:, :-1]
