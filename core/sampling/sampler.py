"""The settings of a sampler: its stages in their order, and the seed. Needs no NumPy and no torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

from core.errors import UserError
from core.language import _
from core.sampling import stages as kinds
from core.sampling.stages import syntax
from core.sampling.stages.min_p import MinP
from core.sampling.stages.stage import Stage
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP

Order = Literal["temperature first", "temperature last"]
ORDERS: tuple[Order, ...] = get_args(Order)
"""Where the short form puts the temperature: before the cuts as transformers does, or after them as llama.cpp does."""
AnyStage = TypeVar("AnyStage", bound=Stage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """The settings of one draw: stages in the order applied, then one uniform number.

    Raises `UserError` for a stage that occurs twice.
    """

    stages: tuple[Stage, ...] = (Temperature(), TopK(), TopP(), MinP())
    seed: int = 0
    """Determines the uniform numbers."""

    def __post_init__(self) -> None:
        names = [stage.NAME for stage in self.stages]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(_("the sampler has the stage {twice} twice; keep one of them"), twice=twice)

    @classmethod
    def of(
        cls,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        order: Order = "temperature first",
        seed: int = 0,
    ) -> "Sampler":
        """The short form of a sampler of four stages. Raises `UserError` for a value outside its range."""
        if order not in ORDERS:
            raise UserError(
                _("{order!r} is not an order of stages; choose {choices}"), order=order, choices=" or ".join(ORDERS)
            )
        heat, cuts = Temperature(temperature=temperature), (TopK(k=top_k), TopP(p=top_p), MinP(m=min_p))
        return cls(stages=(heat, *cuts) if order == "temperature first" else (*cuts, heat), seed=seed)

    @property
    def greedy(self) -> bool:
        """Whether a temperature of 0 leaves one token, so that no number u is needed."""
        heat = self.stage(Temperature)
        return heat is not None and heat.on and heat.temperature == 0

    @property
    def active(self) -> tuple[Stage, ...]:
        """The stages that can change something."""
        return tuple(stage for stage in self.stages if stage.active)

    # Its stages ------------------------------------------------------------------------------------------------------

    def stage(self, kind: type[AnyStage]) -> AnyStage | None:
        """The stage of a kind; None if there is none."""
        return next((stage for stage in self.stages if isinstance(stage, kind)), None)

    def value(self, kind: type[Stage]) -> float:
        """The first knob of the stage of a kind; the value that is off if there is none, or it is switched off."""
        stage, first = self.stage(kind), kind.knobs()[0]
        value: float = getattr(stage, first.name) if stage and stage.on else first.off
        return value

    def uses(self, kind: type[Stage]) -> bool:
        """Whether a stage of a kind is active."""
        return any(isinstance(stage, kind) for stage in self.active)

    def with_stage(self, stage: Stage) -> "Sampler":
        """The sampler with `stage` in the place of the one of its kind, or added at its usual place."""
        present = [type(each) for each in self.stages]
        if type(stage) in present:
            return self._changed(lambda each: stage if type(each) is type(stage) else each)
        before = [at for at, each in enumerate(self.stages) if each.PLACE < stage.PLACE and each.NAME != "temp"]
        at = before[-1] + 1 if before else 0
        return replace(self, stages=(*self.stages[:at], stage, *self.stages[at:]))

    def without(self, number: int) -> "Sampler":
        """The sampler without the stage of this number, from 0."""
        return replace(self, stages=(*self.stages[:number], *self.stages[number + 1 :]))

    def moved(self, number: int, by: int) -> "Sampler":
        """The sampler with a stage `by` places later, or earlier where `by` is negative; at an end it stays."""
        order = list(self.stages)
        order.insert(max(0, min(number + by, len(order) - 1)), order.pop(number))
        return replace(self, stages=tuple(order))

    def _changed(self, change: Callable[[Stage], Stage]) -> "Sampler":
        return replace(self, stages=tuple(map(change, self.stages)))

    # The written form ------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        """Its stages as `read` understands them, such as `top_k=40,min_p=0.05,temp=0.8`; without the seed."""
        return ",".join(map(str, self.stages))

    @classmethod
    def read(cls, text: str, seed: int = 0) -> "Sampler":
        """The sampler of a written form or of a preset. Raises `UserError` for what is none."""
        if text.strip() in PRESETS:
            text = PRESETS[text.strip()]
        return cls(stages=tuple(map(_stage, syntax.split(text, ","))) if text.strip() else (), seed=seed)


PRESETS = {
    "greedy": "temp=0",
    "article": "temp=1",
    "transformers": "temp=1,top_k=50",
    "llama.cpp": "top_k=40,top_p=0.95,min_p=0.05,temp=0.8",
    "creative": "dry=0.8,min_p=0.02,xtc=0.5,temp=1.1",
}
"""Samplers by name. `article` draws from the whole distribution; `transformers` and `llama.cpp` are those programs'
defaults; `creative` is what the authors of DRY and XTC advise, a little warmer."""


def _stage(text: str) -> Stage:
    name, equals, values = text.partition("=")
    on = not name.startswith("-")
    name = name.removeprefix("-").strip()
    kind = kinds.found().get(name)
    if kind is None:
        raise UserError(
            _("{name!r} is not a stage; stages: {stages}; presets: {presets}"),
            name=name,
            stages=" ".join(kinds.found()),
            presets=" ".join(PRESETS),
        )
    return kind.read(syntax.split(values, ":") if equals else (), on=on)
