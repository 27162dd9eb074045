"""A setting that matters gives the logits of transformers, or is refused by its name. Every family is found here."""

import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from varied_settings import base, other_values, varied, varied_fields

from core.errors import UserError
from core.loading import description, weights
from core.loading.families import FAMILIES
from core.loading.families.settings import WITHOUT_EFFECT

TYPES = [model_type for model_type in FAMILIES if model_type != "gemma3"]
"""All but the one whose settings are those of another, `gemma3_text`, in an object."""
TRIES = 3
"""Values of a setting until one is possible in transformers."""


def verdict(model_type: str, changes: dict[str, Any]) -> str | None:
    """`equal`, `refused`, or what went wrong; None where transformers cannot have these settings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if (made := varied(model_type, changes, folder)) is None:
            return None
        ids, logits = made
        try:
            ours = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32)
        except UserError as error:
            named = any(re.search(rf"\b{key}\b", str(error)) for each in changes for key in names(each, changes[each]))
            return "refused" if named else f"refused without its name: {error}"
        length = min(ids.shape[1], ours.config.context)
        with torch.inference_mode():
            difference = (ours(ids[:, :length]) - logits[:, :length]).abs().max().item()
        return "equal" if difference < 1e-4 else f"loaded, but logits differ by {difference:.2g}"


def names(key: str, value: Any) -> list[str]:
    """A setting and those inside it."""
    return [key, *(value if isinstance(value, dict) else ())]


@cache
def usual(model_type: str) -> Any:
    return transformers.CONFIG_MAPPING[model_type](**base(model_type))


def value_of(model_type: str, key: str) -> Any:
    values = base(model_type)
    return values[key] if key in values else getattr(usual(model_type), key, None)


def verdicts(model_type: str, seed: int, *, effect: bool) -> dict[str, str]:
    """By setting, of those that are or are not known to be without effect: the verdict on its first possible value."""
    without_effect = WITHOUT_EFFECT | FAMILIES[model_type].without_effect
    found: dict[str, str] = {}
    for key in varied_fields(model_type):
        if (key in without_effect) is effect:
            continue
        for value in list(other_values(key, value_of(model_type, key), seed))[:TRIES]:
            if each := verdict(model_type, {key: value}):
                found[f"{key} = {value}"] = each
                break
    return found


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("model_type", TYPES)
def test_each_setting_that_matters_is_right_or_refused_by_name(model_type: str, seed: int) -> None:
    """One at a time, each documented setting at a value that is not its own."""
    found = verdicts(model_type, seed, effect=True)
    assert {key: each for key, each in found.items() if each not in ("equal", "refused")} == {}
    assert len(found) >= 7
    assert "equal" in found.values()


@pytest.mark.parametrize("model_type", TYPES)
def test_settings_without_effect_change_no_logits(model_type: str) -> None:
    """Those that the family documents, one at a time."""
    assert set(verdicts(model_type, 0, effect=False).values()) == {"equal"}
