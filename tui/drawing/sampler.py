"""Writes the settings of a sampler, and what its stages did, as one line of text."""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

from core.language import _
from core.sampling.bounds import Bounded, high
from core.sampling.sampler import Sampler
from core.sampling.stages.constraint import Constraint
from core.sampling.stages.stage import Knob, Stage
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP
from core.sampling.values import StageEffect
from tui.drawing.text import fit, one_line, percent, setting, within

SHOWN_OFF = (Temperature, TopK, TopP)
"""Stages that a line names also where they are off."""
LONGEST_TEXT = 12
"""Cells at most of a knob that is a text."""


def value_text(knob: Knob, value: Any, decimals: int = 2) -> str:
    """The value of a knob."""
    if knob.kind == "number":
        return setting(value, decimals)
    return f"{value}" if knob.kind == "whole" else within(one_line(str(value)), LONGEST_TEXT)


def stage_text(stage: Stage, decimals: int = 2) -> str:
    """A stage with the knobs that are not usual, such as `T 0.70`, `k off` or `XTC 0.50 0.20`."""
    if not stage.on:
        return f"{stage.SHORT} {_('off')}"
    first, *others = stage.knobs()
    value = getattr(stage, first.name)
    if isinstance(stage, Temperature):
        return _("greedy") if value == 0 else f"T {setting(value, decimals)}"
    if value == first.off:
        return f"{stage.SHORT} {_('off')}"
    shown = [value_text(first, value)]
    shown += [value_text(each, found) for each in others if (found := getattr(stage, each.name)) != each.usual]
    return f"{stage.SHORT} {' '.join(shown)}"


def _named(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if stage.active or isinstance(stage, SHOWN_OFF)]


def sampler_text(sampler: Sampler, width: int | None = None) -> str:
    """The settings in the order of their stages, such as `T 0.70 k 40 p 0.90`; most stages only where they are on.

    Where that is longer than `width` cells, the first and the last stage, and how many there are.
    """
    parts = list(map(stage_text, _named(sampler.stages)))
    text = " ".join(parts) or _("all tokens")
    if width is None or cell_len(text) <= width or len(parts) < 3:
        return text
    return _("{first} … {last} · {count} stages").format(first=parts[0], last=parts[-1], count=len(parts))


def stages_line(effects: Sequence[StageEffect], kept: Bounded, width: int) -> str:
    """Each stage's setting and the probability mass it removes or moves; shorter where it has no room."""
    named = _named([effect.stage for effect in effects])
    parts = [_did(effect) for effect in effects if effect.stage in named]
    line = " → ".join([*parts, _("{kept:,} kept").format(kept=kept)])
    if len(line) + 4 <= width:
        return line
    active = [effect for effect in effects if effect.stage.active or isinstance(effect.stage, Temperature)]
    line = " → ".join([*map(_did, active), _("{kept:,} kept").format(kept=kept)])
    if len(line) + 4 <= width:
        return line
    heat = [stage_text(stage, 1) for stage in named if isinstance(stage, Temperature)]
    return " → ".join([*heat, _("{kept:,} kept").format(kept=kept)])


def _did(effect: StageEffect) -> str:
    constrains = isinstance(effect.stage, Constraint)
    text = effect.stage.SHORT if constrains else stage_text(effect.stage, 1)
    if isinstance(effect.stage, Temperature):
        return text
    if high(effect.removed):
        return _("{stage} cuts {share}").format(stage=text, share=percent(effect.removed_mass, 1))
    return _("{stage} moves {share}").format(stage=text, share=percent(effect.moved, 1)) if effect.moved else text


def stage_heads(stage: Stage, width: int) -> tuple[str, str]:
    """The name of a stage and the value of its first knob, right-aligned in `width` cells each."""
    first = stage.knobs()[0]
    value = getattr(stage, first.name)
    text = value_text(first, value, 1 if isinstance(stage, Temperature) else 2)
    return _right(stage.SHORT, width), _right(text if stage.on and value != first.off else _("off"), width)


def _right(text: str, width: int) -> str:
    return fit(text, width) if cell_len(text) > width else " " * (width - cell_len(text)) + text
