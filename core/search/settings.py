"""What is searched for, and how a person writes it. Needs no torch."""

import ast
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from core.errors import Option, UserError
from core.language import N_, _
from core.search.values import EarlyStopping

if TYPE_CHECKING:
    from core.tokenizers.tokenizer import Tokenizer

WIDEST = 64
"""Hypotheses of a beam search at most."""
MOST = 1000
"""Answers at most."""


BATCH = 8
"""Beginnings of answers that are read as one batch."""


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """The settings of a beam search. Raises `UserError` for a value outside its range."""

    width: int = 4
    """Hypotheses that go on after each step (`num_beams`)."""
    length: int = 20
    """Tokens that a hypothesis may have."""
    length_penalty: float = 1.0
    """A complete hypothesis of n tokens scores Σ ln p / n^penalty; 0 ranks by the log-probability."""
    early_stopping: EarlyStopping = "no"
    """When to end: `yes` as soon as `width` hypotheses are complete; `no` where the best running one cannot become
    better at its present length; `never` where it cannot become better at any length."""

    def __post_init__(self) -> None:
        if not 1 <= self.width <= WIDEST:
            raise UserError(
                _("{beam} must be between 1 and {limit}, not {width}"),
                beam=Option("beam"),
                limit=WIDEST,
                width=self.width,
            )
        if self.length < 1:
            raise UserError(_("a search needs a length of at least 1 token, not {length}"), length=self.length)
        if not math.isfinite(self.length_penalty):
            raise UserError(
                _("{option} must be a finite number, not {value}"),
                option=Option("length-penalty"),
                value=self.length_penalty,
            )


@dataclass(frozen=True, slots=True)
class BestSettings:
    """The settings of a search for the likeliest answers. Raises `UserError` for a value outside its range."""

    count: int = 5
    """N."""
    length: int = 10
    """Tokens that an answer has, unless it ends with a stop token before."""
    nodes: int = 5000
    """Distributions that may be computed."""
    room: int = 200_000
    """Beginnings that may wait, about 250 bytes each. If there are more, the least likely half is dropped; the bound
    still counts them, so less may be proved, never too much."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise UserError(
                _("{best} must be between 1 and {limit:,}, not {count}"),
                best=Option("best"),
                limit=MOST,
                count=self.count,
            )
        if self.length < 1:
            raise UserError(_("a search needs a length of at least 1 token, not {length}"), length=self.length)
        if self.nodes < 1:
            raise UserError(_("{option} must be at least 1, not {value}"), option=Option("nodes"), value=self.nodes)


Settings = BeamSettings | BestSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """A search, and with which tokens an answer ends besides those that end a text of the model."""

    settings: Settings
    stops: tuple[str, ...] = ()
    """Texts of one token each."""

    @property
    def width(self) -> int:
        """How many continuations are read as one batch."""
        return self.settings.width if isinstance(self.settings, BeamSettings) else BATCH

    def stop_ids(self, tokenizer: "Tokenizer") -> frozenset[int]:
        """The ids that end an answer. Raises `UserError` for a text that is not one token."""
        ids = set(tokenizer.stops)
        for text in self.stops:
            found = tokenizer.continuation(text)
            if len(found) != 1:
                raise UserError(
                    _("{stop} {text!r} is {count} tokens of {name}; give a text of one token"),
                    stop=Option("stop"),
                    text=text,
                    count=len(found),
                    name=tokenizer.name,
                )
            ids.update(found)
        return frozenset(ids)

    def __str__(self) -> str:
        """The plan as `parse` reads it."""
        own = self.settings
        if isinstance(own, BeamSettings):
            words = [f"beam {own.width}", f"length {own.length}", f"penalty {own.length_penalty:g}"]
            words += [f"early {own.early_stopping}"] if own.early_stopping != "no" else []
        else:
            words = [f"best {own.count}", f"length {own.length}", f"nodes {own.nodes}"]
        return "; ".join([*words, *(f"stop {text!r}" for text in self.stops)])


FORMS = N_("beam 4; length 20; penalty 1; early no|yes|never, or best 5; length 10; nodes 5000; each with stop '.'")
_PART = re.compile(r"""(?:'[^']*'|"[^"]*"|[^;])+""")
_NAMES = {
    "beam": {"beam": "width", "length": "length", "penalty": "length_penalty", "early": "early_stopping"},
    "best": {"best": "count", "length": "length", "nodes": "nodes"},
}


def parse(line: str) -> Plan:
    """The plan that a line such as `best 5; length 10; stop '.'` writes. Raises `UserError` for another form."""
    values, stops = dict[str, str](), list[str]()
    for part in filter(str.strip, _PART.findall(line)):
        name, _unused, value = part.strip().partition(" ")
        value = value.strip()
        if name == "stop" and value:
            stops.append(_text(value))
        elif value and any(name in names for names in _NAMES.values()) and name not in values:
            values[name] = value
        else:
            raise UserError(_("{part!r} is not a part of a search; write {forms}"), part=part.strip(), forms=_(FORMS))
    kind = "best" if "best" in values else "beam"
    if wrong := next((name for name in values if name not in _NAMES[kind]), None):
        raise UserError(_("{wrong} is not a setting of {kind}; write {forms}"), wrong=wrong, kind=kind, forms=_(FORMS))
    numbers = {_NAMES[kind][name]: _value(name, value) for name, value in values.items()}
    return Plan(BestSettings(**numbers) if kind == "best" else BeamSettings(**numbers), tuple(stops))  # type: ignore[arg-type]


def _text(value: str) -> str:
    """A text, in quotes with escapes such as `\\n` resolved."""
    if value[0] not in "'\"":
        return value
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError) as error:
        raise UserError(_("{value} is not a quoted text; write one such as '.' or '\\n'"), value=value) from error


def _value(name: str, text: str) -> float | str:
    if name == "early":
        if text not in get_args(EarlyStopping):
            raise UserError(
                _("early must be {choices}, not {text!r}"), choices=", ".join(get_args(EarlyStopping)), text=text
            )
        return text
    try:
        return float(text) if name == "penalty" else int(text)
    except ValueError as error:
        raise UserError(
            _("{name} must be a number, not {text!r}; write {forms}"), name=name, text=text, forms=_(FORMS)
        ) from error
