"""Every lens in Vietnamese: drawn from real answers, without an app, in a narrow and in a usual panel."""

import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from rich.cells import cell_len
from rich.style import Style

from core import language
from core.causal.question import CausalQuestion
from core.lenses import table
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.walk.session import Session
from tui import lenses
from tui.drawing.origins import origin_text
from tui.drawing.parts import part_name
from tui.lenses.base import HeatMapPage, LensPage
from tui.reports.cells import column_name
from tui.reports.lenses import lens_lines

WIDTHS = (46, 78)
WHOLE = 56
"""Cells of a panel from which on no line is cut off."""
CUT = re.compile(r"\w… *$")
"""The end of a line whose last word is cut off."""
SLOW = ("device", "ladder")
"""Lenses whose answers need more than one small model; pictures show them."""
VIEWS = 5
"""Views of a lens that `o` turns through at most."""


@pytest.fixture(scope="module")
def session() -> Session:
    """A walk through a small untrained rung, with a corrupt prompt for the experiments."""
    changes = Hyperparameters(embed_dim=16, context=32, blocks=2, heads=2)
    made = Session(load_model(ModelChoice(name="model5", tokenizer="bytes", changes=changes)))
    encode = made.model.tokenizer.encode
    list(made.prefill(encode("oat milk oat")))
    made.question = CausalQuestion(corrupt=tuple(encode("oat silk oat")))
    list(made.generate(3))
    return made


@pytest.fixture(scope="module")
def answers(session: Session) -> dict[str, Any]:
    """The last answer of each lens; its own words, such as notes, are Vietnamese."""
    language.speak("vi")
    kinds = [kind for kind in lenses.found() if issubclass(kind, LensPage) and kind.NAME not in SLOW]
    found = {}
    for kind in kinds:
        answer = kind().new_question().ask(session)
        if isinstance(answer, Iterator):
            *_, answer = answer
        found[kind.NAME] = answer
    return found


@pytest.fixture(autouse=True)
def no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lenses are drawn without an app, which has colors, keys and the sampler."""
    for kind in (LensPage, HeatMapPage):
        for name in ("style_of", "tint", "signed_tint"):
            monkeypatch.setattr(kind, name, lambda *_, **__: Style(), raising=False)
    monkeypatch.setattr(HeatMapPage, "_add_cell", lambda page, line, shown, *_: line.append(shown))
    host = Mock(sampler=Sampler.read("top_k=20,top_p=0.9,temp=0.8"))
    monkeypatch.setattr(LensPage, "host", property(lambda page: host))
    monkeypatch.setattr(LensPage, "ask_again", lambda page: None)
    for name in ("draw", "follow", "scroll_to"):
        monkeypatch.setattr(LensPage, name, lambda *_, **__: None)


def drawn(kind: type[LensPage[Any]], answer: Any, width: int) -> list[list[str]]:
    """The lines of each view of a lens."""
    page = kind()
    page.answer = answer
    views = []
    for _ in range(VIEWS):
        views.append([line.plain for line in page.lines(answer, width, 30)])
        page.switch_view()
    return views


def longest(lines: list[str]) -> int:
    return max(map(cell_len, lines), default=0)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_a_lens_is_wider_than_its_panel(answers: dict[str, Any], width: int) -> None:
    """Where a line is longer in English too, the panel shows its beginning, and Vietnamese is not longer than that."""
    wrong, same = [], []
    for kind in lenses.found():
        if kind.NAME not in answers:
            continue
        language.speak("en")
        english = drawn(kind, answers[kind.NAME], width)
        language.speak("vi")
        vietnamese = drawn(kind, answers[kind.NAME], width)
        if english == vietnamese:
            same.append(kind.NAME)
        for number, (before, after) in enumerate(zip(english, vietnamese, strict=True)):
            if longest(after) > max(width, longest(before)):
                wrong.append(f"{kind.NAME} view {number}: {max(after, key=cell_len)!r}")
    assert not wrong, "\n".join(wrong)
    assert same == []


@pytest.mark.parametrize("spoken", language.languages())
def test_no_line_is_cut_off_in_a_terminal_of_60_columns(answers: dict[str, Any], spoken: str) -> None:
    """A panel has 56 cells there; in one of 110 columns a lens has 60."""
    language.speak(spoken)
    wrong = [
        f"{name} view {number}: {line!r}"
        for name, answer in answers.items()
        for number, lines in enumerate(drawn(lenses.named(name), answer, WHOLE))
        for line in lines
        if cell_len(line.rstrip()) > WHOLE or CUT.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("spoken", language.languages())
def test_heads_of_the_jacobian_lens_are_whole_in_a_terminal_of_110_columns(
    answers: dict[str, Any], spoken: str
) -> None:
    """Its panel has 60 cells there."""
    language.speak(spoken)
    for lines in drawn(lenses.named("jacobian"), answers["jacobian"], 60):
        (heads,) = (line for line in lines if line.startswith(f" {language._('after')} "))
        assert [heads.count(title) for title in ("logit", "Jacobian", language._("affine"))] == [1, 1, 1]
        assert "…" not in heads


def test_a_number_of_the_jacobian_lens_does_not_touch_the_mark_of_the_next_column(answers: dict[str, Any]) -> None:
    for lines in drawn(lenses.named("jacobian"), answers["jacobian"], 90):
        rows = lines[next(n for n, line in enumerate(lines) if line.startswith(" after ")) + 1 :]
        assert any("▸" in row for row in rows)
        assert not any(re.search(r"[\d%]▸", row) for row in rows)


@pytest.mark.parametrize(
    ("english", "vietnamese"),
    [
        ("random weights, seed 3", "trọng số ngẫu nhiên, hạt giống 3"),
        (
            "trained for 1,234 steps on the tiny world, loss 2.500, 1.800 above its floor",
            "huấn luyện 1,234 bước trên thế giới nhỏ, mất mát 2.500, hơn mức sàn 1.800",
        ),
        ("/models/a {b}", "/models/a {b}"),
        ("/models/a (b)", "/models/a (b)"),
        ("random weights, seed 3, with the LoRA oat", "trọng số ngẫu nhiên, hạt giống 3, cùng LoRA oat"),
        ("qwen, served by vllm 0.32", "qwen, do vllm 0.32 phục vụ"),
        (
            "/a (model.safetensors, not the files of its index; the language model alone: 1,234 tensors of other parts "
            "are not used)",
            "/a (model.safetensors, không phải các tệp trong chỉ mục của nó; chỉ mô hình ngôn ngữ: 1,234 tensor "
            "của các phần khác không được dùng)",
        ),
    ],
)
def test_where_weights_come_from(english: str, vietnamese: str) -> None:
    language.speak("en")
    assert origin_text(english) == english
    language.speak("vi")
    assert origin_text(english) == vietnamese


@pytest.mark.parametrize(
    "name", ["block 3 attention", "3 attention", "head 5.1", "2 other neurons", "final norm", "embedding"]
)
def test_parts_of_a_model(name: str) -> None:
    language.speak("en")
    assert part_name(name) == name
    language.speak("vi")
    assert part_name(name) != name
    assert [word for word in part_name(name).split() if word[0].isdigit()] == [
        w for w in name.split() if w[0].isdigit()
    ]


@pytest.mark.parametrize("name", ["attribution", "gradients", "jacobian", "circuit", "patchscope"])
def test_the_table_of_an_experiment_has_vietnamese_columns(answers: dict[str, Any], name: str) -> None:
    """A person reads it; CSV, as JSON, is for programs and stays English."""
    language.speak("vi")
    found = table(name)(answers[name])
    known = {"token", "logit"}
    for column in found.columns:
        assert column_name(column) != column or column in known
    head = next(line for line in lens_lines(name, answers[name]) if line.startswith(column_name(found.columns[0])))
    assert all(column_name(column) in head for column in found.columns)
    assert str(found).split("\n")[0] == ",".join(found.columns)
