"""Where a measurement is made: the live walk, what the app shows, and other models beside the walk."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import UserError
from core.language import _
from tui.course import models
from tui.course.expressions import BadExpression, evaluate

if TYPE_CHECKING:
    from core.activations.trace import Step
    from core.loading.model import Model
    from core.sampling.next_distribution import NextDistribution
    from core.training.status import TrainingStatus
    from core.walk.session import Session

Function = TypeVar("Function", bound=Callable[..., Any])
MEASUREMENTS: dict[str, Callable[..., Any]] = {}
"""All measurements by their names."""
KEPT_MODELS = 6
"""Other models in memory at most."""
KEPT_ANSWERS = 200
"""Answers that are kept at most, for the same model and tokens."""


def measurement(function: Function) -> Function:
    """Let lessons use a function by its name."""
    MEASUREMENTS[function.__name__.removesuffix("_")] = function
    return function


@cache
def signature(function: Callable[..., Any]) -> inspect.Signature:
    """The arguments that a lesson gives to a measurement."""
    whole = inspect.signature(function)
    arguments = [each.replace(annotation=inspect.Parameter.empty) for each in whole.parameters.values()]
    return whole.replace(parameters=arguments[1:], return_annotation=inspect.Signature.empty)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the app shows when a measurement is asked for."""

    lens: str = ""
    """The name of the lens in the slot."""
    mode: str = "walk"
    """`walk` or `write`."""
    pressed: Mapping[str, int] = field(default_factory=dict)
    """How often the key of each action was pressed in this step."""
    looked_at: Mapping[str, int | str] = field(default_factory=dict)
    """What the keys of the lens have gone to (`Lens.looked_at`)."""
    training: "TrainingStatus | None" = None
    """The training that runs or has run."""


class Bench:
    """Other models than the walk's, loaded when they are first measured, and answers that do not change."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._answers: OrderedDict[object, Any] = OrderedDict()

    def model(self, name: str) -> "Model":
        """A model by its name. Raises `UserError` where it is not on this machine."""
        if name not in self._models:
            from core.loading.models import load_model

            models.check(name)
            self._models[name] = load_model(models.choice(name))
            while len(self._models) > KEPT_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(name)
        return self._models[name]

    def kept(self, key: object, compute: Callable[[], Any]) -> Any:
        """The answer for a key, computed at the first time."""
        if key not in self._answers:
            self._answers[key] = compute()
            while len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return self._answers[key]


@dataclass(frozen=True, slots=True)
class Here:
    """The place of a measurement. `model` and `prompt` in its methods name another one than the walk's."""

    session: "Session"
    seen: Seen = Seen()  # a frozen value
    bench: Bench = field(default_factory=Bench)

    def model(self, model: str | None = None) -> "Model":
        """The model of the walk, or another one beside it."""
        return self.session.model if model is None else self.bench.model(_text(model))

    def ids(self, model: str | None = None, prompt: str | None = None) -> tuple[int, ...]:
        """The tokens before the point that is looked at, or those of a prompt."""
        found = self.model(model)
        if prompt is not None:
            return tuple(found.tokenizer.encode(_text(prompt)) or [found.tokenizer.end_of_text])
        own = self.session.model.tokenizer
        before = tuple(token.id for token in self.session.tokens[: self.session.cursor])
        if not before:
            raise UserError(_("the walk has no token yet"))
        if model is None:
            return before
        from core.tokenizers.tokenizer import same_tokens

        if same_tokens(own, found.tokenizer):
            return before
        return tuple(found.tokenizer.encode(own.written(before)) or [found.tokenizer.end_of_text])

    def kept(self, kind: object, model: str | None, ids: Sequence[int], compute: Callable[[], Any]) -> Any:
        """What `compute` finds for these tokens in this model; computed again only where one of them changes."""
        who = model or (self.session.info, self.session.patches)
        return self.bench.kept((kind, who, tuple(ids)), compute)

    def distribution(self, model: str | None = None, prompt: str | None = None) -> "NextDistribution":
        """The next-token distribution."""
        if model is None and prompt is None:
            self.ids()
            return self.session.distribution()
        from core.evaluation.compare import next_distribution

        ids = self.ids(model, prompt)
        found: NextDistribution = self.kept(
            "distribution", model, ids, lambda: next_distribution(self.model(model), ids)
        )
        return found

    def step(self, model: str | None = None, prompt: str | None = None) -> "Step":
        """The forward pass, for a lens of `core.lenses`."""
        if model is None and prompt is None:
            self.ids()
            return self.session.current_step()
        from core.activations.trace import Step

        found = self.model(model)
        return Step(found, self.ids(model, prompt)[-found.info.context :])

    def id(self, token: str | int, model: str | None = None) -> int:
        """The id of a token that is given by its text. Raises `UserError` where the text is not one token."""
        found = self.model(model).tokenizer
        if isinstance(token, int):
            found.piece(token)
            return token
        ids = found.continuation(_text(token))
        if len(ids) != 1:
            raise UserError(_("{text!r} is {count} tokens of {model}, not one").format(
                text=token, count=len(ids), model=self.model(model).info.name
            ))  # fmt: skip
        return ids[0]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UserError(_("{value!r} is no text; write it in quotes").format(value=value))
    return value


def value_of(text: str, here: Here) -> Any:
    """The value of an expression. Raises `UserError` where it cannot be measured."""

    def lookup(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if name not in MEASUREMENTS:
            raise BadExpression(_("there is no measurement {name!r}").format(name=name))
        return MEASUREMENTS[name](here, *arguments, **named)

    try:
        return evaluate(text, lookup)
    except BadExpression as error:
        raise UserError(str(error)) from error
