"""The values that `{set}` takes: what each means, and what is wrong with one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from core.engine.activation import Activation
from core.language import _
from core.loading.choice import Hyperparameters, ModelChoice
from core.sampling.sampler import Sampler
from tui import lenses
from tui.course import keys, models
from tui.course.directives import split_keys
from tui.lenses.base import Lens

PANELS = ("lens", "tokens", "generation")
"""The panels that a step can bring forward, where the terminal has no room for all."""
SIZES = ("embed_dim", "context", "blocks", "heads")
ALIASES = {"chart": "candidates", "next token": "candidates"}
"""Other names of lenses."""


def lens_name(text: str) -> str:
    """The name of a lens that is given by its name or title. Raises `ValueError` where there is none."""
    name = ALIASES.get(text, text)
    for kind in lenses.found():
        if name in (kind.NAME, kind.TITLE):
            return kind.NAME
    names = ", ".join(kind.NAME for kind in lenses.found())
    raise ValueError(_("there is no lens {name!r}; choose from {names}").format(name=text, names=names))


def lens_kind(text: str) -> type[Lens]:
    """The lens that is given by its name or title; the chart where there is none."""
    try:
        return lenses.named(lens_name(text))
    except ValueError:
        return lenses.named("candidates")


def choice(values: Mapping[str, str], before: ModelChoice) -> ModelChoice:
    """The model that the values of a `{set}` ask for. Raises `UserError` for one that is impossible or not here."""
    name = values.get("model")
    changed = {each: values[each] for each in (*SIZES, "activation") if each in values}
    others = {each: values[each] for each in ("tokenizer", "weights_seed", "dtype") if each in values}
    sizes: dict[str, Any] = {each: int(value) if each in SIZES else value for each, value in changed.items()}
    plain = ModelChoice(name=name or before.name, device=before.device)
    more: dict[str, Any] = {each: int(value) if each == "weights_seed" else value for each, value in others.items()}
    found = replace(plain, changes=Hyperparameters(**sizes), **more)
    models.check(found.name, found)
    return found


def sampler(values: Mapping[str, str]) -> Sampler:
    """The sampler of a `{set}`; what it does not name has its usual value. Raises `UserError` for an invalid one."""
    seed = int(values.get("seed") or 0)
    if text := values.get("sampler"):
        return Sampler.read(text, seed)
    return Sampler.of(temperature=float(values.get("temperature") or 1), seed=seed)


def check_setting(name: str, value: str) -> str:
    """What is wrong with a value; empty where nothing is."""
    try:
        return _CHECKS[name](value) or ""
    except (ValueError, ArithmeticError) as error:  # UserError is one
        return str(error)


def _model(value: str) -> str | None:
    return None if models.is_known(value) else _("there is no model {name!r}").format(name=value)


def _lens(value: str) -> None:
    lens_name(value)


def _whole(value: str) -> str | None:
    return None if value.isdecimal() and len(value) < 10 else _("{value!r} is no whole number").format(value=value)


def _temperature(value: str) -> None:
    Sampler.of(temperature=float(value))


def _sampler(value: str) -> None:
    Sampler.read(value, 0)


def _position(value: str) -> str | None:
    return None if value == "last" else _whole(value)


def _keys(value: str) -> str | None:
    words = split_keys(value)
    return next(filter(None, (*map(keys.problem, words), *map(keys.own_key, words))), None)


def _one_of(*allowed: str) -> Callable[[str], str | None]:
    def check(value: str) -> str | None:
        names = ", ".join(allowed)
        return None if value in allowed else _("{value!r} is not one of {names}").format(value=value, names=names)

    return check


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "model": _model,
    "prompt": lambda value: None,
    "lens": _lens,
    "panel": _one_of(*PANELS),
    "seed": _whole,
    "temperature": _temperature,
    "sampler": _sampler,
    "position": _position,
    "keys": _keys,
    "tokenizer": lambda value: None,
    "weights_seed": _whole,
    **dict.fromkeys(SIZES, _whole),
    "activation": _one_of(*get_args(Activation)),
    "dtype": lambda value: None,
    "chat": _one_of("on", "off"),
    "count": _whole,
}
