"""Values from JSON or GGUF metadata, checked for type and range when they are read.

Anybody may have edited a file, so no value is used unchecked. Each error names the file, the field, its value and what
is allowed.
"""

import json
import reprlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from core.bounded import read_file
from core.errors import UserError
from core.formats.text import well_formed
from core.language import N_, _

T = TypeVar("T", int, float, bool, str)
Built = TypeVar("Built")

COUNT_LIMIT = 2**63
"""Whole numbers from here on count nothing."""
_TYPE_NAMES = {bool: N_("true or false"), int: N_("a whole number"), float: N_("a finite number"), str: N_("text")}


class CheckedValues:
    """An object with named values, which are asked for by name and type; `unread` tells which never were.

    `source` is the file, and the place in it, that error texts begin with; `advice` is the next step they end with.
    Raises `UserError` where `values` is not an object.
    """

    def __init__(self, source: str, values: object, advice: str = "") -> None:
        self.source, self.advice = source, advice
        if not isinstance(values, Mapping):
            raise self.error(_("{values} is not an object with named values").format(values=reprlib.repr(values)))
        self.values: Mapping[str, Any] = values
        self._read: set[str] = set()
        self._assumed: dict[str, Any] = {}
        self._inner: dict[str, CheckedValues] = {}

    def unread(self) -> Iterator[tuple[str, Any]]:
        """Each value that was not asked for, with its name; inside an object that was, as `outer.inner`."""
        for key, value in self.values.items():
            if key in self._inner:
                yield from ((f"{key}.{inner}", each) for inner, each in self._inner[key].unread())
            elif key not in self._read:
                yield key, value

    def assume(self, **values: Any) -> None:
        """Take these values for keys that are absent or null."""
        self._assumed |= values

    def _value(self, key: str, default: object = None) -> Any:
        self._read.add(key)
        value = self.values.get(key, default)
        return self._assumed.get(key, value) if self.values.get(key) is None else value

    def error(self, problem: str, advice: str | None = None) -> UserError:
        """The error for `problem`, with the source before it and the advice, else that of the object, after it."""
        advice = self.advice if advice is None else advice
        return UserError(f"{self.source}: {problem}{advice and f'; {advice}'}")

    def invalid(self, key: str, allowed: str) -> UserError:
        """The error for the value of `key`; `allowed` says in words what it may be."""
        if key not in self.values:
            return self.error(_("{key} is missing (allowed: {allowed})").format(key=key, allowed=allowed))
        return self.error(
            _("invalid value for {key}: {value} (allowed: {allowed})").format(
                key=key, value=reprlib.repr(self.values[key]), allowed=allowed
            )
        )

    # An absent or null value means the default, as in the files of models.

    def get(self, key: str, default: T) -> T:
        """The value of `key`, of the type of `default`; absence and null mean the default."""
        if (value := self._value(key)) is None:
            return default
        try:
            return _convert(value, type(default))
        except TypeError:
            raise self.invalid(key, _(_TYPE_NAMES[type(default)])) from None

    def count(self, key: str) -> int:
        """A whole number of at least 1, which must be there."""
        return self.integer(key, low=1)

    def optional_object(self, key: str) -> "CheckedValues":
        """The object under `key`; absence and null mean an empty one."""
        if self.values.get(key) is None:
            return CheckedValues(f"{self.source}: {key}", {}, self.advice)
        return self.object(key)

    def one_of(self, key: str, supported: Mapping[str, Built], default: str) -> Built:
        """The member of `supported` that the value of `key` names; absence and null mean `default`."""
        if (name := self.get(key, default)) not in supported:
            raise self.error(
                _("{key} is {name}, which is not supported (supported: {supported})").format(
                    key=key, name=reprlib.repr(name), supported=_list(supported)
                )
            )
        return supported[name]

    def require(self, key: str, supported: T) -> None:
        """Raise `UserError` where `key` has a value other than the only one that is supported."""
        if (value := self.get(key, supported)) != supported:
            raise self.error(
                _("{key} is {value!r}, which is not supported (supported: {supported!r})").format(
                    key=key, value=value, supported=supported
                )
            )

    # An absent value means the default where there is one; null is a value of the wrong type.

    def text(self, key: str, default: str | None = None) -> str:
        """A string. Half of a surrogate pair becomes U+FFFD."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.invalid(key, _(_TYPE_NAMES[str]))
        return well_formed(value)

    def flag(self, key: str) -> bool:
        """True or false; absence means false."""
        value = self._value(key, False)
        if not isinstance(value, bool):
            raise self.invalid(key, _(_TYPE_NAMES[bool]))
        return value

    def integer(self, key: str, low: int = 0, below: int = COUNT_LIMIT, default: int | None = None) -> int:
        """A whole number, `low` ≤ value < `below`."""
        value = self._value(key, default)
        if type(value) is int and low <= value < below:
            return value
        if below <= low:
            raise self.invalid(key, _("none, because there is nothing to choose from"))
        if below == COUNT_LIMIT:
            raise self.invalid(key, _("a whole number of at least {low}").format(low=low))
        raise self.invalid(key, _("a whole number from {low} to {last}").format(low=low, last=below - 1))

    def number(self, key: str, low: float, high: float, *, infinite: bool = False) -> float:
        """A finite number, `low` ≤ value ≤ `high`; with `infinite` also the text `-inf`, since JSON has no infinity."""
        value: Any = self._value(key)
        if infinite and value == "-inf":
            return float(value)
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.invalid(
                key,
                _("a number from {low!r} to {high!r}").format(low=low, high=high)
                if high < 1e30
                else _("a finite number"),
            )
        return float(value)

    def items(self, key: str) -> list[Any]:
        """A list, which must be there; its items are not checked."""
        value = self._value(key)
        if not isinstance(value, list):
            raise self.invalid(key, _("a list"))
        return value

    def object(self, key: str) -> "CheckedValues":
        """The object under `key`, which must be there; the same at each call."""
        if key not in self.values:
            raise self.invalid(key, _("an object with named values"))
        if key not in self._inner:
            self._inner[key] = CheckedValues(f"{self.source}: {key}", self.values[key], self.advice)
        return self._inner[key]

    def objects(self, key: str, label: str) -> list["CheckedValues"]:
        """The objects of the list under `key`; errors call them `label` 1, `label` 2 and so on."""
        return [
            CheckedValues(f"{self.source}: {label} {number}", value, self.advice)
            for number, value in enumerate(self.items(key), start=1)
        ]

    def build(self, kind: type[Built]) -> Built:
        """A dataclass whose fields are exactly these values, checked against its annotations.

        Annotations may be bool, int, float, str, Literal, tuple, another dataclass, and any of these `| None`.
        """
        known, types = {field.name: field for field in fields(kind)}, get_type_hints(kind)  # type: ignore[arg-type]
        if unknown := next((name for name in self.values if name not in known), None):
            raise self.error(
                _("{unknown} is not a known name (allowed: {known})").format(
                    unknown=reprlib.repr(unknown), known=_list(known)
                )
            )
        arguments = {}
        for name, field in known.items():
            if name in self.values:
                arguments[name] = self._field(name, types[name])
            elif field.default is MISSING and field.default_factory is MISSING:
                raise self.invalid(name, _describe(types[name]))
        try:
            return kind(**arguments)
        except UserError as error:
            raise self.error(str(error)) from error

    def _field(self, name: str, wanted: Any) -> Any:
        """The value under `name` as the type of a field."""
        value, inner = self.values[name], _required(wanted)
        if isinstance(inner, type) and is_dataclass(inner) and not (value is None and inner is not wanted):
            return self.object(name).build(inner)
        try:
            return _convert(value, wanted)
        except TypeError:
            raise self.invalid(name, _describe(wanted)) from None


def _required(wanted: Any) -> Any:
    """The type without its `| None`."""
    if get_origin(wanted) in (Union, UnionType):
        (wanted,) = (each for each in get_args(wanted) if each is not NoneType)
    return wanted


def _convert(value: Any, wanted: Any) -> Any:
    """`value` where it has the type `wanted`. Raises `TypeError` where it has another."""
    inner = _required(wanted)
    if value is None and inner is not wanted:
        return None
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        each = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        if len(each) == len(value):
            return tuple(map(_convert, value, each))
    if inner is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if inner is not float and type(value) is inner:
        return value
    raise TypeError(wanted)


def _describe(wanted: Any) -> str:
    """A type in words."""
    inner = _required(wanted)
    if get_origin(inner) is Literal:
        words = _list(get_args(inner))
    elif get_origin(inner) is tuple:
        words = _("a list of {kinds}").format(
            kinds=", ".join(_describe(each) for each in get_args(inner) if each is not ...)
        )
    else:
        words = _(_TYPE_NAMES.get(inner, N_("an object with named values")))
    return words if inner is wanted else _("{words} or null").format(words=words)


def _list(names: Any) -> str:
    return ", ".join(map(str, names))


def read_json(path: Path) -> CheckedValues:
    """The JSON object in a file of a model. Raises `UserError` where the file is missing or holds something else."""
    advice = _("download the model again")
    try:
        values = json.loads(read_file(path).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(
            _("{folder} has no {file}; {advice}"), folder=path.parent, file=path.name, advice=advice
        ) from None
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(
            _("{path} is nested too deeply to be read as JSON; {advice}"), path=path, advice=advice
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            _("{path} cannot be read as JSON ({error}); {advice}"),
            path=path,
            error=str(error).splitlines()[0],
            advice=advice,
        ) from error
    return CheckedValues(path.name, values, advice)
