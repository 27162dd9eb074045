"""The settings of a sampler and what its stages keep, written as a line."""

from core.sampling.sampler import Sampler
from core.sampling.values import SamplerStage
from tui.drawing.sampler import sampler_text, stages_line


def stages(temperature: float = 1.0, *, k: tuple[int, float], p: tuple[int, float]) -> tuple[SamplerStage, ...]:
    """What is left after each stage, from a vocabulary of 100."""
    return (
        SamplerStage("raw", 100, 1.0),
        SamplerStage("temperature", 1 if temperature == 0 else 100, 1.0),
        SamplerStage("top-k", *k),
        SamplerStage("top-p", *p),
        SamplerStage("renormalised", p[0], 1.0),
    )


def test_stages_are_written_in_the_order_they_are_applied() -> None:
    line = stages_line(stages(k=(40, 0.9), p=(12, 0.45)), Sampler(temperature=0.7, top_k=40, top_p=0.5), 120)
    assert line == "T 0.7 → k 40 cuts 10.0% → p 0.50 cuts 45.0% → 12 kept"


def test_stages_that_are_off_say_off() -> None:
    assert stages_line(stages(k=(100, 1.0), p=(100, 1.0)), Sampler(), 120) == "T 1.0 → k off → p off → 100 kept"


def test_temperature_zero_is_written_as_greedy() -> None:
    line = stages_line(stages(0, k=(1, 1.0), p=(1, 1.0)), Sampler(temperature=0), 120)
    assert line.startswith("greedy")
    assert line.endswith("1 kept")


def test_a_narrow_line_has_only_temperature_and_count() -> None:
    line = stages_line(stages(k=(40, 0.9), p=(12, 0.45)), Sampler(temperature=0.7, top_k=40, top_p=0.5), 30)
    assert line == "T 0.7 → 12 kept"


def test_a_setting_is_not_rounded() -> None:
    """Rounding would name another temperature or share than the one that is drawn with."""
    line = stages_line(stages(k=(100, 1.0), p=(90, 0.999)), Sampler(temperature=0.75, top_p=0.999), 120)
    assert line == "T 0.75 → k off → p 0.999 cuts 0.1% → 90 kept"
    assert sampler_text(Sampler(temperature=0.001, top_p=0.995)) == "T 0.001 k off p 0.995"
    assert sampler_text(Sampler(temperature=0.7, top_p=0.9)) == "T 0.70 k off p 0.90"


def test_min_p_is_written_only_where_it_is_set() -> None:
    stages = (
        SamplerStage("raw", 100, 1.0),
        SamplerStage("temperature", 100, 1.0),
        SamplerStage("top-k", 40, 0.9),
        SamplerStage("top-p", 40, 0.9),
        SamplerStage("min-p", 10, 0.6),
        SamplerStage("renormalised", 10, 1.0),
    )
    line = stages_line(stages, Sampler(top_k=40, min_p=0.05), 120)
    assert line == "T 1.0 → k 40 cuts 10.0% → p off → min-p 0.05 cuts 30.0% → 10 kept"
    off = (*stages[:4], SamplerStage("min-p", 40, 0.9), SamplerStage("renormalised", 40, 1.0))
    assert stages_line(off, Sampler(top_k=40), 120) == "T 1.0 → k 40 cuts 10.0% → p off → 40 kept"


def test_temperature_last_is_written_last_and_cuts_nothing() -> None:
    stages = (
        SamplerStage("raw", 100, 1.0),
        SamplerStage("top-k", 40, 0.9),
        SamplerStage("top-p", 12, 0.45),
        SamplerStage("min-p", 12, 0.45),
        SamplerStage("temperature", 12, 0.2),
        SamplerStage("renormalised", 12, 1.0),
    )
    sampler = Sampler(temperature=2, top_k=40, top_p=0.5, order="temperature last")
    assert stages_line(stages, sampler, 120) == "k 40 cuts 10.0% → p 0.50 cuts 45.0% → T 2.0 → 12 kept"
    assert stages_line(stages, sampler, 30) == "T 2.0 → 12 kept"
