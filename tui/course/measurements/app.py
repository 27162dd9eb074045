"""Measurements of what the app shows."""

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


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
