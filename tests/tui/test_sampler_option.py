"""The option that writes a sampler, beside the older options that are its short forms."""

from typing import Any

import pytest

from core.errors import UserError
from core.sampling.sampler import PRESETS, Sampler
from tui.options import SamplerOptions


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({}, "temp=1,top_k=0,top_p=1,min_p=0"),
        ({"temperature": 0.5, "top_k": 9}, "temp=0.5,top_k=9,top_p=1,min_p=0"),
        ({"order": "temperature-last", "greedy": True}, "top_k=0,top_p=1,min_p=0,temp=0"),
        ({"stages": "top_k=40,min_p=0.05,temp=0.8"}, "top_k=40,min_p=0.05,temp=0.8"),
        ({"stages": "creative"}, PRESETS["creative"]),
    ],
    ids=str,
)
def test_options_make_a_sampler(given: dict[str, Any], stages: str) -> None:
    assert SamplerOptions(seed=4, **given).sampler() == Sampler.read(stages, seed=4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"stages": "top_k=40", "temperature": 0.5}, "leave out option temperature"),
        ({"stages": "top_k=40", "greedy": True}, "leave out option greedy"),
        ({"stages": "foo=1"}, "option sampler: 'foo' is not a stage"),
        ({"stages": "top_p=2"}, "option sampler: top-p must be above 0 and at most 1, not 2"),
        ({"stages": "temp=1,temp=2"}, "the sampler has the stage temp twice"),
    ],
    ids=str,
)
def test_what_is_wrong_names_the_option(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SamplerOptions(**given).sampler()
