"""Measurements of what the app shows."""

from typing import TYPE_CHECKING

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement

if TYPE_CHECKING:
    from core.training.status import TrainingStatus


@measurement
def lens(here: Here) -> str:
    """The name of the lens in the slot; `candidates` is the chart of the next token."""
    return here.seen.lens


@measurement
def mode(here: Here) -> str:
    """`walk`, or `write` while the prompt takes the keys."""
    return here.seen.mode


@measurement
def pressed(here: Here, action: str) -> int:
    """How often the key of an action was pressed in this step."""
    from tui.keys import LEAVE, WALK

    if not any(action == binding.id for binding in (*WALK, LEAVE)):
        raise UserError(_("there is no action {action!r}").format(action=action))
    return here.seen.pressed.get(action, 0)


@measurement
def shown_block(here: Here) -> int | str:
    """The block whose head the lens shows, from 0."""
    return _looked_at(here, "block")


@measurement
def shown_head(here: Here) -> int | str:
    """The head that the lens shows, from 0."""
    return _looked_at(here, "head")


@measurement
def shown_weight(here: Here) -> int | str:
    """The name of the weight whose histogram the lens shows."""
    return _looked_at(here, "weight")


@measurement
def shown_row(here: Here) -> int | str:
    """The name of the row that the flow lens looks at, such as `embedding`."""
    return _looked_at(here, "row")


def _looked_at(here: Here, what: str) -> int | str:
    if what not in here.seen.looked_at:
        raise UserError(_("the lens {name} shows no {what}").format(name=here.seen.lens, what=what))
    return here.seen.looked_at[what]


def _training(here: Here) -> "TrainingStatus":
    if here.seen.training is None:
        raise UserError(_("nothing was trained yet"))
    return here.seen.training


@measurement
def training_state(here: Here) -> str:
    """`preparing`, `training`, `paused` or `ended`."""
    return _training(here).state


@measurement
def training_step(here: Here) -> int:
    """How many steps of the training are done."""
    return _training(here).step


@measurement
def training_loss(here: Here) -> float:
    """The held-out loss of its last evaluation, in nats per token."""
    if not (moments := _training(here).evaluated_steps):
        raise UserError(_("the training has no evaluation yet"))
    return moments[-1].loss
