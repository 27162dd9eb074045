"""Measurements of what the layers say, and of what is asked of experiments."""

from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


def _after_block(here: Here, block: int, token: str | int, model: str | None, prompt: str | None) -> Any:
    """The candidate that a token is in the prediction read after a block."""
    from dataclasses import replace

    from core.lenses.logit import logit

    id = here.id(token, model)
    step = replace(here.step(model, prompt), target=id)

    def compute() -> Any:
        *_, found = logit(step, count=1)
        return {layer.block: layer.target for layer in found.layers if layer.block is not None}  # type: ignore[union-attr]

    layers = here.kept(("logit lens", id), model, step.ids, compute)
    if block not in layers:
        raise UserError(
            _("there is no block {block!r}; there are {count}, from 0").format(block=block, count=len(layers))
        )
    return layers[block]


@measurement
def layer_rank(here: Here, block: int, token: str | int, *, model: str | None = None, prompt: str | None = None) -> int:
    """The place of a token in the prediction that the logit lens reads after a block; 1 is the likeliest."""
    place: int = _after_block(here, block, token, model, prompt).rank + 1
    return place


@measurement
def layer_probability(
    here: Here, block: int, token: str | int, *, model: str | None = None, prompt: str | None = None
) -> float:
    """The probability of a token in the prediction that the logit lens reads after a block."""
    found: float = _after_block(here, block, token, model, prompt).probability
    return found


@measurement
def contribution(
    here: Here, part: str, target: str | int, against: str | int, *, model: str | None = None,
    prompt: str | None = None,
) -> float:  # fmt: skip
    """What a part such as `block 3` adds to the difference of the logits of two tokens, in nats."""
    from core.causal.question import CausalQuestion
    from core.lenses.attribution import attribution

    question = CausalQuestion(target=here.id(target, model), against=here.id(against, model))
    step = here.step(model, prompt)

    def compute() -> Any:
        *_, found = attribution(step, question)
        return {each.name: each.value for each in found.parts}  # type: ignore[union-attr]

    parts = here.kept(("attribution", question), model, step.ids, compute)
    if part not in parts:
        raise UserError(_("there is no part {name!r}; choose from {names}").format(name=part, names=", ".join(parts)))
    value: float = parts[part]
    return value


def _piece(here: Here, id: int | None) -> str:
    return "" if id is None else here.model().tokenizer.piece(id).decode("utf-8", "backslashreplace")


@measurement
def asked(here: Here) -> str:
    """The token that experiments are asked about; empty where none was chosen."""
    return _piece(here, here.session.question.target)


@measurement
def asked_against(here: Here) -> str:
    """The token that it is compared with; empty where none was chosen."""
    return _piece(here, here.session.question.against)


@measurement
def corrupt_prompt(here: Here) -> str:
    """The corrupt prompt of experiments; empty where there is none."""
    return here.model().tokenizer.written(here.session.question.corrupt)
