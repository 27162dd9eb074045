"""`--plain`: what each key of the app says first, and in both languages that nothing that is said draws."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here

from core import language
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui import lenses
from tui.keys import WALK
from tui.plain.lenses import title
from tui.plain.spoken_app import SpokenWalk
from tui.settings import Settings

NOTHING, NO_LESSON = "nothing has changed", "no lesson is open; L opens the course"
NO_ADAPTER = "model5-trained has no LoRA adapter; m takes the path of one"
FIXED = "the sizes of model5-trained are fixed by its files; m chooses one of the rungs, whose sizes can be changed"
NO_CHAT = "model5-trained has no chat template; m chooses a model made for chat, such as smollm2"
LIKELY = ("oat", "honey", "soy", "brown", "no", "fresh", "lemon", "cold", "ginger")
"""What model 5 expects after "I prefer", likeliest first."""
MARK = "-----"
"""Before the id of a key; a word that means nothing is said again, in an error."""


def lens(name: str) -> str:
    return title(lenses.named(name))


def token(number: int, text: str, rank: int) -> str:
    return f'{number}  " {text}"  #%  rank {rank}  entropy #, then # bits'


def pattern(layer: int, head: int) -> str:
    return f"layer {layer}, head {head}: attention weights of the last position"


class Row(NamedTuple):
    """A key and the first line that it says, with # for numbers of the model that have a fraction."""

    id: str
    says: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """What is pressed before it and, when what it has opened was left, after it."""


ROWS = [
    Row("walk.stop", NOTHING),
    Row("walk.step", token(2, "dark", 10), after=("u",)),
    Row("walk.generate", token(2, "dark", 10), after=("u", "u", "u")),
    Row("walk.pick_up", '2  " honey"  #%  true #%  logit #', before=("down", "down")),
    Row("walk.pick_down", '2  " honey"  #%  true #%  logit #', before=("up",)),
    Row("walk.take", token(2, "honey", 2), after=("u",)),
    *(Row(f"walk.take_{n}", token(2, text, n), after=("u",)) for n, text in enumerate(LIKELY, start=1)),
    Row("walk.left", "position 1 of 2, after I", after=("end",)),
    Row("walk.right", 'position 2 of 2, after " prefer"', before=("home",)),
    Row("walk.home", "position 1 of 2, after I", after=("end",)),
    Row("walk.end", 'position 2 of 2, after " prefer"', before=("home",)),
    Row("walk.take_back", "1 token taken back", before=("space",)),
    Row("walk.redo", token(2, "dark", 10)),
    Row("walk.redraw", token(2, "oat", 1), after=("u", "u")),
    Row("walk.continuations", lens("continuations"), after=("candidates",)),
    Row("walk.until", "run until"),
    Row("lens.next", lens("continuations"), before=("sampler",), after=("candidates",)),
    Row("lens.previous", lens("branches"), before=("sampler",), after=("candidates",)),
    Row("lens.index", "lenses, 1/26"),
    Row("lens.branches", lens("branches"), after=("candidates",)),
    Row("walk.search", "search"),
    Row("walk.draft", "draft"),
    Row("choose.compare", "model B", after=("escape",)),
    Row("lens.guess", lens("guess"), after=("candidates",)),
    Row("choose.train", "a new training", after=("escape",)),
    Row("walk.text", "open a text"),
    Row("lens.turn", "0  I hidden, KL # bits", before=("last-token",)),
    Row("lens.up", pattern(0, 0), before=("attention", "shift+down")),
    Row("lens.down", pattern(1, 0), before=("attention",)),
    Row("lens.left", pattern(1, 0), before=("attention", "shift+right")),
    Row("lens.right", pattern(1, 1), before=("attention",)),
    Row("lens.experiments", "experiments"),
    Row("lens.steering", "steering"),
    Row("question.target", 'why " oat", not " honey": logit difference +#', before=("up",)),
    Row("question.against", 'why " oat", not " honey": logit difference +#', before=("down",)),
    Row("question.corrupt", "corrupt prompt"),
    Row(
        "lens.notebook",
        "only lenses of experiments are exported: attribution, input attributions, contrast, "
        "path patching, heads, Jacobian lens, circuit, patchscope",
    ),
    Row("knob.t_down", "sampler T 0.90 k off p off, seed 0"),
    Row("knob.t_up", "sampler T 1.00 k off p off, seed 0"),
    Row("knob.k_down", "sampler T 1.00 k 500 p off, seed 0"),
    Row("knob.k_up", "sampler T 1.00 k off p off, seed 0"),
    Row("knob.p_down", "sampler T 1.00 k off p 0.95, seed 0"),
    Row("knob.p_up", "sampler T 1.00 k off p off, seed 0"),
    Row("knob.m_down", "sampler T 1.00 k off p off, seed 0", before=(")",)),
    Row("knob.m_up", "sampler T 1.00 k off p off min-p 0.05, seed 0", after=("(",)),
    Row("choose.preset", "sampler"),
    Row("choose.samplers", "samplers, the same u in each column, seed 0, 20 tokens"),
    Row("walk.grammar", "constraint"),
    Row("choose.adapter", NO_ADAPTER),
    Row("knob.a_down", NO_ADAPTER),
    Row("knob.a_up", NO_ADAPTER),
    Row("walk.write", "I prefer"),
    Row("walk.chat", NO_CHAT),
    Row("walk.system", NO_CHAT),
    Row("choose.model", "model"),
    Row("choose.details", "model5-trained"),
    Row("choose.twin", "loading", after=("a",)),
    Row("choose.hyperparameters", FIXED),
    Row("choose.device", "device and dtype"),
    Row("choose.seed", "seed"),
    Row("session.save", "save or export"),
    Row("session.open", "sessions"),
    Row("session.copy", "nothing is generated yet; space samples a token"),
    Row("course.open", "course, 0/23 done"),
    *(Row(f"course.{name}", NO_LESSON) for name in ("onward", "back", "hint", "code", "more", "less")),
    Row("app.help", "Walk:"),
]
"""In the order of the list of keys: the walk begins with two tokens, at the second one and its chart, at each key."""


def tour(folder: Path) -> list[list[str]]:
    """What is said after the key of each row, until the next one."""
    app = SpokenWalk(
        ModelChoice(name="model5-trained", device="cpu"),
        Sampler(),
        "I prefer",
        settings=Settings(fps=60),
        count=3,
        sessions=folder,
    )
    lines = [line for row in ROWS for line in (*row.before, f"{MARK}{row.id}", row.id, "escape", *row.after)]
    said: list[list[str]] = [[]]
    for line in said_by(app, *lines):
        if line.startswith(f"'{MARK}"):
            said.append([])
        else:
            said[-1].append(line)
    return said[1:]


def test_each_key_has_a_row() -> None:
    assert [row.id for row in ROWS] == [binding.id for binding in WALK if binding.id != "app.quit"]


def test_each_key_says_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = tour(tmp_path / "walks")
    first = {row.id: _masked(row, lines[0]) if lines else "" for row, lines in zip(ROWS, said, strict=True)}
    assert first == {row.id: row.says for row in ROWS}
    assert {row.id: signs for row, lines in zip(ROWS, said, strict=True) if (signs := drawn(lines))} == {}


def _masked(row: Row, line: str) -> str:
    return re.sub(r"\d+\.\d+", "#", line) if "#" in row.says else line


def test_each_key_speaks_another_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    language.speak("vi")
    try:
        said = tour(tmp_path / "walks")
    finally:
        language.speak("en")
    assert [row.id for row, lines in zip(ROWS, said, strict=True) if not lines] == []
    assert {row.id: signs for row, lines in zip(ROWS, said, strict=True) if (signs := drawn(lines))} == {}
