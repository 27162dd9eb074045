"""The settings of a sampler and what its stages did, written as a line."""

import pytest

from core.sampling.sampler import PRESETS, Sampler
from core.sampling.values import StageEffect
from tui.drawing.sampler import sampler_text, stages_line


def effects(sampler: Sampler, *did: tuple[int, float]) -> tuple[StageEffect, ...]:
    """How many tokens of a vocabulary of 100 each stage leaves, and the mass it removes."""
    found, before = [], 100
    for stage, (kept, mass) in zip(sampler.stages, did, strict=True):
        found.append(StageEffect(stage, kept, before - kept, mass, mass))
        before = kept
    return tuple(found)


ALL = (100, 0.0)


def test_stages_are_written_in_the_order_they_are_applied() -> None:
    sampler = Sampler.of(temperature=0.7, top_k=40, top_p=0.5)
    line = stages_line(effects(sampler, ALL, (40, 0.1), (12, 0.45), (12, 0)), 12, 120)
    assert line == "T 0.7 → k 40 cuts 10.0% → p 0.50 cuts 45.0% → 12 kept"


def test_stages_that_are_off_say_off() -> None:
    assert stages_line(effects(Sampler(), *[ALL] * 4), 100, 120) == "T 1.0 → k off → p off → 100 kept"


def test_temperature_zero_is_written_as_greedy() -> None:
    line = stages_line(effects(Sampler.of(temperature=0), *[(1, 0.5)] * 4), 1, 120)
    assert line.startswith("greedy")
    assert line.endswith("1 kept")


def test_a_narrow_line_has_only_temperature_and_count() -> None:
    sampler = Sampler.of(temperature=0.7, top_k=40, top_p=0.5)
    assert stages_line(effects(sampler, ALL, (40, 0.1), (12, 0.45), (12, 0)), 12, 30) == "T 0.7 → 12 kept"


def test_a_setting_is_not_rounded() -> None:
    """Rounding would name another temperature or share than the one that is drawn with."""
    sampler = Sampler.of(temperature=0.75, top_p=0.999)
    line = stages_line(effects(sampler, ALL, ALL, (90, 0.001), (90, 0)), 90, 120)
    assert line == "T 0.75 → k off → p 0.999 cuts 0.1% → 90 kept"
    assert sampler_text(Sampler.of(temperature=0.001, top_p=0.995)) == "T 0.001 k off p 0.995"
    assert sampler_text(Sampler.of(temperature=0.7, top_p=0.9)) == "T 0.70 k off p 0.90"


def test_other_stages_are_written_only_where_they_are_on() -> None:
    sampler = Sampler.of(top_k=40, min_p=0.05)
    line = stages_line(effects(sampler, ALL, (40, 0.1), (40, 0), (10, 0.3)), 10, 120)
    assert line == "T 1.0 → k 40 cuts 10.0% → p off → min-p 0.05 cuts 30.0% → 10 kept"
    line = stages_line(effects(Sampler.of(top_k=40), ALL, (40, 0.1), (40, 0), (40, 0)), 40, 120)
    assert line == "T 1.0 → k 40 cuts 10.0% → p off → 40 kept"


def test_temperature_last_is_written_last_and_cuts_nothing() -> None:
    sampler = Sampler.of(temperature=2, top_k=40, top_p=0.5, order="temperature last")
    found = effects(sampler, (40, 0.1), (12, 0.45), (12, 0), (12, 0))
    assert stages_line(found, 12, 120) == "k 40 cuts 10.0% → p 0.50 cuts 45.0% → T 2.0 → 12 kept"
    assert stages_line(found, 12, 30) == "T 2.0 → 12 kept"


def test_a_stage_that_moves_scores_says_how_far() -> None:
    sampler = Sampler.read("penalty=1.2,temp=0.8")
    found = (StageEffect(sampler.stages[0], 100, 0, 0.0, 0.034), StageEffect(sampler.stages[1], 100, 0, 0.0, 0.1))
    assert stages_line(found, 100, 120) == "rep 1.20 moves 3.4% → T 0.8 → 100 kept"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("greedy", "greedy"),
        ("article", "T 1.00"),
        ("transformers", "T 1.00 k 50"),
        ("llama.cpp", "k 40 p 0.95 min-p 0.05 T 0.80"),
        ("creative", "DRY 0.80 min-p 0.02 XTC 0.50 T 1.10"),
    ],
)
def test_each_preset_is_a_line(name: str, line: str) -> None:
    assert sampler_text(Sampler.read(name)) == line
    assert set(PRESETS) == {"greedy", "article", "transformers", "llama.cpp", "creative"}


def test_a_text_that_a_stage_holds_is_one_short_line() -> None:
    line = sampler_text(Sampler.read(r"ban='\x1b[2J and more of it',-top_k=5,cfg=2:'a\nb'"))
    assert "\x1b" not in line
    assert "\n" not in line
    assert line.startswith("ban ")
    assert "k off" in line
