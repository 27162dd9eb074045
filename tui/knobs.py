"""The steps in which keys change the settings of the sampler. `by` is 1 for up and -1 for down."""

from core.errors import Action, UserError
from core.language import _
from core.sampling.sampler import Sampler
from core.sampling.stages.min_p import MinP
from core.sampling.stages.stage import Stage
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP

KINDS: dict[str, type[Stage]] = {"temperature": Temperature, "top_k": TopK, "top_p": TopP, "min_p": MinP}
"""The stages that have keys of their own, by the name of their action."""
UP = {"temperature": "knob.t_up", "top_k": "knob.k_up", "top_p": "knob.p_up", "min_p": "knob.m_up"}
DOWN = {"temperature": "knob.t_down", "top_k": "knob.k_down", "top_p": "knob.p_down", "min_p": "knob.m_down"}
"""The ids of their keys."""


def turned(sampler: Sampler, name: str, by: int, vocab_size: int | None = None) -> Sampler:
    """The sampler with the first knob of a stage turned; the stage is added or switched on where it is not.

    Temperature: one tenth, from 0 (greedy) to 5. Top-k: the next of some round numbers below `vocab_size`; above the
    largest it is off. Top-p: one twentieth, from 0.05 to 1 (off). Min-p: one twentieth, from 0 (off) to 1.
    """
    stage = _stage(sampler, name)
    turned = stage.turned(0, by, vocab_size)
    return sampler if turned == stage else sampler.with_stage(turned)


def _stage(sampler: Sampler, name: str) -> Stage:
    """The stage that keys turn; one that changes nothing where it is missing or switched off."""
    stage = sampler.stage(KINDS[name])
    return stage if stage and stage.on else KINDS[name]()


def idle(before: Sampler, after: Sampler, name: str, by: int) -> UserError | None:
    """Why turning a stage so changes nothing of what is drawn; None where it does."""
    if after == before:
        return at_end(_stage(before, name), 0, by, back=(DOWN if by > 0 else UP)[name])
    return greedy(_(KINDS[name].TITLE)) if before.greedy and after.greedy else None


def at_end(stage: Stage, number: int, by: int, back: str) -> UserError:
    """That knob `number` of a stage goes no further; `back` is the id of the key that turns it back."""
    knob, title = stage.knobs()[number], _(stage.TITLE)
    value = getattr(stage, knob.name)
    if number:
        title = f"{title}: {_(knob.label)}"
    if isinstance(value, str):
        return UserError(_("{title} is a text, which no key turns"), title=title)
    if number == 0 and value == knob.off:
        return UserError(_("{title} is off already; {key} turns it on"), title=title, key=Action(back))
    words = _("{title} is {value} already; this key goes no higher")
    if by < 0:
        words = _("{title} is {value} already; this key goes no lower")
    return UserError(words, title=title, value=f"{value:g}")


def greedy(what: str) -> UserError:
    """That `what` has no effect on a draw that always takes the likeliest token."""
    words = _("temperature 0 always takes the likeliest token, so {what} has no effect; {key} raises the temperature")
    return UserError(words, what=what, key=Action(UP["temperature"]))
