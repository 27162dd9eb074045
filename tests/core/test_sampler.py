"""The written form of a sampler, its stages and their knobs, presets, and what is refused."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.sampling.sampler import PRESETS, Sampler
from core.sampling.stages import found
from core.sampling.stages.ban import Ban
from core.sampling.stages.stage import Knob, Stage
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP

NAMES = (
    *("bias", "ban", "penalty", "presence", "frequency", "no_repeat", "dry", "top_k", "top_p", "min_p", "typical"),
    *("top_n_sigma", "epsilon", "eta", "xtc", "dynatemp", "mirostat", "temp", "cfg", "contrast"),
)


def values(knob: Knob) -> st.SearchStrategy[Any]:
    """Allowed values of a knob."""
    if knob.kind == "text":
        return st.text(max_size=8)
    if knob.kind == "list":
        return st.just(knob.off)
    high = min(knob.high, 1e6)
    if knob.kind == "whole":
        return st.integers(int(knob.low), int(high))
    return st.floats(knob.low, high, exclude_min=knob.above_low)


@st.composite
def stage_of(draw: Callable[..., Any], kind: type[Stage]) -> Stage:
    return kind(on=draw(st.booleans()), **{knob.name: draw(values(knob)) for knob in kind.knobs()})


@st.composite
def samplers(draw: Callable[..., Any]) -> Sampler:
    kinds = draw(st.permutations([found()[name] for name in NAMES]))[: draw(st.integers(0, 20))]
    return Sampler(stages=tuple(draw(stage_of(kind)) for kind in kinds), seed=draw(st.integers(0, 9)))


def test_every_stage_is_found() -> None:
    assert set(NAMES) <= set(found())
    places = [kind.PLACE for kind in found().values()]
    assert places == sorted(places)
    assert list(found()).index("bias") < list(found()).index("top_k") < list(found()).index("temp")


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_names_itself_its_formula_and_its_source(name: str) -> None:
    kind = found()[name]
    for text in (kind.TITLE, kind.SHORT, kind.FORMULA, kind.SOURCE, kind.__doc__):
        assert text
        assert text.isprintable() or text == kind.__doc__
    assert not kind().active
    assert kind.EXAMPLE or kind.usual().active
    if kind.EXAMPLE:
        assert Sampler.read(kind.EXAMPLE).stages[0].active


@given(samplers())
def test_a_sampler_is_read_as_it_is_written(sampler: Sampler) -> None:
    assert Sampler.read(str(sampler), sampler.seed) == sampler


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("top_k=40,min_p=0.05,temp=0.8", "top_k=40,min_p=0.05,temp=0.8"),
        (" top_k = 40 ,\ttemp=.8 ", "top_k=40,temp=0.8"),
        ("mirostat,temp", "mirostat=5,temp=0.8"),
        ("xtc=0.5:0.2,dry=1:2:3:64", "xtc=0.5:0.2,dry=1:2:3:64"),
        ("-top_k=40,temp=1", "-top_k=40,temp=1"),
        ("ban=' my';13;'a, b:c'", "ban=' my';13;'a, b:c'"),
        (r"bias='\n'-2;7+1.5", r"bias='\n'-2;7+1.5"),
        ("cfg=2:'say, it: so'", "cfg=2:'say, it: so'"),
        ("", ""),
        ("llama.cpp", PRESETS["llama.cpp"]),
    ],
)
def test_forms_that_a_person_may_write(text: str, written: str) -> None:
    assert str(Sampler.read(text)) == written


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_sampler(name: str) -> None:
    assert str(Sampler.read(name, seed=3)) == PRESETS[name]
    assert Sampler.read(name, seed=3).seed == 3
    assert Sampler.read(name).greedy == (name == "greedy")


WRONG = {
    "foo=1": "'foo' is not a stage",
    "top_k=40,": "'' is not a stage",
    "top_k=x": "'x' is not a whole number",
    "top_k=1.5": "not a whole number",
    "top_k=-1": "top-k must be a whole number 0 or more, not -1",
    "top_p=0": "top-p must be above 0 and at most 1, not 0",
    "top_p=1.01": "top-p must be",
    "temp=-1": "temperature must be 0 or more",
    "temp=nan": "temperature must be",
    "temp=inf": "temperature must be",
    "xtc=0.5:2": "XTC: threshold must be between 0 and 1, not 2",
    "xtc=0.5:0.1:3": "takes xtc=chance:threshold, not 3 values",
    "top_k=1,temp=1,top_k=2": "top_k twice",
    "ban=x": "'x' is not a token",
    "ban=": "",
    "ban=' my'+1": "is not a token",
    "ban=''": "empty text",
    "ban='a": "not a token",
    "bias=13": "not a token and its bias",
    "bias=13+x": "not a token and its bias",
    "bias=13+1.2.3": "is not a number",
    "ban='\\x'": "is not an escape",
    "cfg=2:'a'b": "is not a quoted text",
    "dry=0.8:0.5": "DRY: base must be",
    "penalty=0": "repetition penalty must be above 0",
    "mirostat=5:2": "mirostat 2: η must be",
    "no_repeat=-1": "no-repeat n-gram must be",
    "dynatemp=-1": "dynamic temperature must be",
    "contrast=1:0": "contrastive: α must be above 0",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_line(text: str) -> None:
    if not WRONG[text]:
        assert Sampler.read(text)
        return
    with pytest.raises(UserError) as caught:
        Sampler.read(text)
    assert WRONG[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_sampler_or_one_line(text: str) -> None:
    try:
        sampler = Sampler.read(text)
    except UserError as error:
        assert "Traceback" not in str(error)
    else:
        assert Sampler.read(str(sampler)) == sampler


# The row of stages ----------------------------------------------------------------------------------------------------


def test_a_stage_is_replaced_in_its_place_or_added_at_its_usual_one() -> None:
    sampler = Sampler.read("temp=0.8,top_k=40")
    assert str(sampler.with_stage(TopK(k=5))) == "temp=0.8,top_k=5"
    for stage, written in (
        ("penalty=1.1", "penalty=1.1,temp=0.8,top_k=40"),
        ("xtc=0.5", "temp=0.8,top_k=40,xtc=0.5"),
        ("top_n_sigma=1", "top_n_sigma=1,temp=0.8,top_k=40"),
    ):
        assert str(sampler.with_stage(Sampler.read(stage).stages[0])) == written
    assert str(Sampler.read("top_k=40,temp=0.8").with_stage(TopP(p=0.9))) == "top_k=40,top_p=0.9,temp=0.8"


def test_stages_move_and_leave() -> None:
    sampler = Sampler.read("penalty=1.1,top_k=40,temp=0.8")
    assert str(sampler.moved(0, 1)) == "top_k=40,penalty=1.1,temp=0.8"
    assert str(sampler.moved(2, -1)) == "penalty=1.1,temp=0.8,top_k=40"
    assert sampler.moved(0, -1) == sampler
    assert str(sampler.moved(0, 99)) == "top_k=40,temp=0.8,penalty=1.1"
    assert str(sampler.without(1)) == "penalty=1.1,temp=0.8"


def test_a_stage_that_is_off_keeps_its_value_and_does_nothing() -> None:
    sampler = Sampler.read("-top_k=40,temp=0.8")
    assert [stage.NAME for stage in sampler.active] == ["temp"]
    assert sampler.value(TopK) == 0
    assert sampler.stage(TopK) == TopK(on=False, k=40)
    assert not Sampler.read("-temp=0").greedy
    assert Sampler.read("temp=0").greedy


@pytest.mark.parametrize("name", NAMES)
def test_turning_stays_in_range_and_goes_the_right_way(name: str) -> None:
    for number, knob in enumerate(found()[name].knobs()):
        if knob.kind in ("text", "list"):
            assert found()[name]().turned(number, 1) == found()[name]()
            continue
        for by in (1, -1):
            stage = found()[name].usual()
            for _ in range(40):
                turned = stage.turned(number, by)
                before, after = (getattr(each, knob.name) for each in (stage, turned))
                assert type(after) is type(before)
                if not (knob.ladder and knob.off in (before, after)):
                    assert (after - before) * by >= 0
                stage = turned
            assert math.isfinite(getattr(stage, knob.name))


def test_the_short_form_has_four_stages() -> None:
    assert Sampler() == Sampler.of() == Sampler.read("temp=1,top_k=0,top_p=1,min_p=0")
    last = Sampler.of(temperature=0.7, top_k=5, order="temperature last")
    assert str(last) == "top_k=5,top_p=1,min_p=0,temp=0.7"
    assert last.value(Temperature) == 0.7
    assert last.value(Ban) == ""
