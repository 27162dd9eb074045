"""Values that no model and no sampler can have are refused with one line."""

import math
import subprocess
import sys
from typing import Any

import pytest

from core.engine.config import ModelConfig
from core.errors import UserError
from core.loading import ladder
from core.loading.choice import Hyperparameters
from core.sampling.sampler import Sampler


def line(caught: pytest.ExceptionInfo[UserError]) -> str:
    text = str(caught.value)
    assert text
    assert text == text.strip()
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"vocab_size": 0}, "vocabulary"),
        ({"embed_dim": 0}, "embedding size"),
        ({"embed_dim": -64}, "-64"),
        ({"context": 0}, "context"),
        ({"context": -1}, "-1"),
        ({"heads": 0}, "heads"),
        ({"blocks": -1}, "blocks"),
        ({"embed_dim": 64, "heads": 5}, "4"),
        ({"embed_dim": 7, "heads": 10_000}, "7"),
        ({"activation": "swish"}, "swish"),
    ],
)
def test_an_impossible_model_config_is_refused(values: dict[str, Any], says: str) -> None:
    """Sizes below 1, heads that do not divide d, an unknown activation: the line names the value or the advice."""
    with pytest.raises(UserError) as caught:
        ModelConfig(**({"vocab_size": 97} | values))
    assert says in line(caught)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": -math.inf}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": -0.5}, "top-p"),
        ({"top_p": 1.01}, "top-p"),
        ({"top_p": math.nan}, "top-p"),
    ],
)
def test_an_impossible_sampler_is_refused(values: dict[str, Any], says: str) -> None:
    """A temperature, top-k or top-p outside its range, and NaN."""
    with pytest.raises(UserError) as caught:
        Sampler.of(**values)
    assert says in line(caught)


@pytest.mark.parametrize(
    "values", [{"temperature": 0.0}, {"temperature": 1e-4}, {"temperature": 1e6}, {"top_p": 1.0}, {"top_p": 1e-9}]
)
def test_the_limits_of_a_range_are_allowed(values: dict[str, Any]) -> None:
    """Temperature 0, and only 0, is greedy; top-p 1 is off."""
    assert Sampler.of(**values).greedy == (values.get("temperature") == 0)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("model7", {}, "model7"),
        ("", {}, "model1"),
        ("model1", {"blocks": 2}, "model3"),
        ("model2", {"blocks": 1}, "model3"),
        ("model1", {"heads": 2}, "model3"),
        ("model2", {"heads": 4}, "model3"),
        ("model3", {"blocks": 0}, "at least 1"),
        ("model5", {"blocks": 0}, "at least 1"),
        ("model5", {"blocks": -3}, "-3"),
        ("model5", {"embed_dim": 63}, "63"),
        ("model5", {"heads": 3}, "3"),
        ("model4", {"context": 0}, "context"),
        ("model1", {"embed_dim": -1}, "-1"),
    ],
)
def test_an_impossible_rung_is_refused(name: str, changes: dict[str, int], says: str) -> None:
    """An unknown rung, hyperparameters that a rung does not have, sizes that do not fit each other."""
    with pytest.raises(UserError) as caught:
        ladder.rung(name, 97, Hyperparameters(**changes))
    assert says in line(caught)


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    """The line names every rung."""
    with pytest.raises(UserError) as caught:
        ladder.rung("gpt", 97)
    assert all(name in line(caught) for name in ladder.NAMES)


@pytest.mark.parametrize(("embed_dim", "heads"), [(64, 5), (60, 7), (97, 2), (12, 100), (1, 9)])
def test_the_advised_number_of_heads_divides_the_embedding(embed_dim: int, heads: int) -> None:
    """The advice of the error leads to a valid model."""
    with pytest.raises(UserError) as caught:
        ModelConfig(vocab_size=97, embed_dim=embed_dim, heads=heads)
    offered = int(line(caught).split()[-1])
    assert ModelConfig(vocab_size=97, embed_dim=embed_dim, heads=offered).heads == offered


@pytest.mark.parametrize(
    ("embed_dim", "heads"), [(10**15 + 1, 5), (64, 10**18), (10**18 + 1, 10**17)], ids=["wide", "many", "both"]
)
def test_huge_sizes_are_refused_fast(embed_dim: int, heads: int) -> None:
    """The advice on heads does not count up to 10^15. The test runs in a process that can be ended."""
    script = (
        "from core.engine.config import ModelConfig\n"
        "from core.errors import UserError\n"
        f"try: ModelConfig(vocab_size=97, embed_dim={embed_dim}, heads={heads})\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=5, check=True)
    assert embed_dim % int(done.stdout.split()[-1]) == 0


def test_configs_are_immutable() -> None:
    """So a validated value stays valid."""
    for value, field in ((ModelConfig(vocab_size=97), "heads"), (Sampler(), "seed"), (Hyperparameters(), "blocks")):
        with pytest.raises(AttributeError):
            setattr(value, field, 5)
