"""Values read from JSON or GGUF metadata, checked for type and range as they are asked for."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from core.errors import UserError

T = TypeVar("T", int, float, bool, str)


class CheckedValues:
    """What a file says, asked for by name and type."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where, self.values = where, values

    def get(self, key: str, default: T) -> T:
        """The value of `key`; null and absence mean the default. Raises `UserError` for a value of another type."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default) or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{self.where} says {key} is {value!r}, which no model can have; get the file again")
        return value

    def count(self, key: str) -> int:
        """A whole number above 0 that must be there."""
        value = self.get(key, 0)
        if value < 1:
            raise UserError(f"{self.where} says {key} is {value}, but it must be at least 1; get the file again")
        return value

    def part(self, key: str) -> "CheckedValues":
        """The values under `key`, none where there are none."""
        values = self.values.get(key) or {}
        if not isinstance(values, dict):
            raise UserError(f"{self.where} says {key} is {values!r}, which no model can have; get the file again")
        return CheckedValues(f"{self.where}, {key},", values)

    def must_be(self, key: str, wanted: T) -> None:
        """Raise `UserError` where a model is of a kind whose mathematics we lack."""
        if (value := self.get(key, wanted)) != wanted:
            raise UserError(f"{self.where} says {key} is {value!r}; only {wanted!r} is known here")


def read_json(path: Path) -> CheckedValues:
    """A JSON file of a model's folder. Raises `UserError` where it is missing or no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} has no {path.name}; a model's folder needs it; download the model again"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({str(error).splitlines()[0]}); download it again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object; download it again")
    return CheckedValues(path.name, values)
