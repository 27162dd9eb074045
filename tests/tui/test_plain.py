"""`--plain`: what is said, that it is true, and that no glyph, box or escape sequence is in it."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.walk.session import Session
from tui.drawing import text
from tui.plain import lenses, words
from tui.plain.actions import Actions
from tui.plain.desk import Desk
from tui.plain.keyboard import Lines, key_of_line
from tui.runner import Frame

TRAINED = ModelChoice(name="model5-trained", device="cpu")
PROMPT = "I prefer oat milk in"
Walked = Callable[..., list[str]]
QUICK = ("score", "branches", "continuations", "flow", "attention", "logit", "context", "last_token", "weights", "lab")


@pytest.fixture(autouse=True)
def spoken_labels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Labels are written for a screen reader during the test alone."""
    monkeypatch.setattr(text, "_spoken", False)
    text.speak()
    yield
    text.label.cache_clear()


@pytest.fixture
def walked(tmp_path: Path) -> Walked:
    """The lines that are said while lines of commands are read from a pipe."""

    def walk(*commands: str, prompt: str = PROMPT, choice: ModelChoice = TRAINED, count: int = 3) -> list[str]:
        read, write = os.pipe()
        os.write(write, "".join(f"{command}\n" for command in commands).encode())
        os.close(write)
        said: list[str] = []
        keyboard = Lines(read)
        desk = Desk(choice, _sampler(), say=said.append, keyboard=keyboard, count=count, sessions=tmp_path / "sessions")
        try:
            assert desk.run(Actions(desk), prompt, None) == 0
        finally:
            assert desk.runner.close(10)
            desk.autosave.close(10)
            os.close(read)
        return said

    return walk


def _sampler():  # type: ignore[no-untyped-def]
    from core.sampling.sampler import Sampler

    return Sampler()


def drawn(lines: list[str]) -> set[str]:
    """Characters that draw instead of saying something."""
    found = {each for line in lines for each in line if "\u2500" <= each <= "\u259f" or "\u2800" <= each <= "\u28ff"}
    return found | {each for line in lines for each in line if each in "·●○▸›↵⇥\x1b\n\t"}


def test_a_step_is_announced_with_its_numbers(walked: Walked) -> None:
    """They are those of a session without a screen."""
    session = Session(load_model(TRAINED))
    list(session.prefill(session.model.tokenizer.encode(PROMPT)))
    token, before = session.step(), session.chart().entropy_bits
    assert token.score is not None
    lines = walked(" ")
    assert (
        f'6  " my"  {100 * token.score.probability:.2f}%  rank {token.score.rank + 1}  '
        f"entropy {token.score.entropy_bits:.2f}, then {before:.2f} bits"
    ) in lines


def test_a_candidate_is_taken_and_taken_back(walked: Walked) -> None:
    lines = walked("down", "enter", "u", "2")
    picked = next(n for n, line in enumerate(lines) if line.startswith('2  " our"'))
    assert lines[picked + 1].startswith('6  " our"  0.035%  rank 2  entropy')
    assert lines[picked + 2] == "1 token taken back"
    assert lines[-1].startswith('6  " our"')


def test_every_panel_is_read(walked: Walked) -> None:
    lines = walked("prompt", "f2", "next", "f4", "status")
    assert lines[lines.index("prompt, 5 tokens:") + 1] == PROMPT
    assert lines[lines.index("token ids, 5 tokens:") + 1] == "1  I  id 40"
    assert 'next token, position 5 of 5, after " in":' in lines
    assert lines[lines.index("text, 0 tokens generated:") + 1] == PROMPT
    assert "sampler T 1.00 k off p off, seed 0" in lines
    assert (
        walked("tab", "tab")[-6:-1]
        == lines[lines.index("token ids, 5 tokens:") : lines.index("token ids, 5 tokens:") + 5]
    )


def test_the_chart_adds_up(walked: Walked) -> None:
    lines = walked("next")
    others = next(line for line in lines if "others: " in line)
    rows = lines[lines.index(others) - words.READ : lines.index(others)]
    shares = [float(re.findall(r"([\d.e-]+)%", row)[0]) for row in (*rows, others.replace(",", ""))]
    assert sum(shares) == pytest.approx(100, abs=0.02)
    assert int(re.findall(r"\d+", others)[0]) == 825 - words.READ


def test_a_run_announces_each_token_once(walked: Walked) -> None:
    lines = walked("g", "text", count=20)
    numbers = [int(found.group(1)) for line in lines if (found := re.match(r"(\d+)  .*entropy [\d.]+, then", line))]
    assert numbers == list(range(6, 26))
    assert "text, 20 tokens generated:" in lines


def test_travel_and_settings_are_announced(walked: Walked) -> None:
    lines = walked("home", "right", "[", "<", "s", "7", "s", "x")
    assert "position 1 of 5, after I" in lines
    assert 'position 2 of 5, after " prefer"' in lines
    assert any(line.startswith("sampler T 0.90 k") for line in lines)
    assert "sampler T 0.90 k 1,000 p off, seed 7" in lines or any("seed 7" in line for line in lines)
    assert lines[-1] == "the seed must be a whole number, not 'x'"


def test_a_prompt_is_written(walked: Walked) -> None:
    lines = walked("i", "We like", " ")
    assert "prompt of 2 tokens" in lines
    assert lines[-1].startswith("3  ")


@pytest.mark.parametrize("name", QUICK)
def test_a_lens_is_read_without_drawing(walked: Walked, name: str) -> None:
    lines = walked("n" if name == "continuations" else " ", name)
    start = next(n for n, line in enumerate(lines) if line.startswith("lens ") and lenses.title(name) in line)
    assert len(lines) > start + 2
    assert drawn(lines) == set()
    assert not any("  " in line.strip() and "   " in line for line in lines)


def test_the_pattern_of_attention_is_read_in_numbers(walked: Walked) -> None:
    lines = walked("attention")
    rows = [line for line in lines if re.fullmatch(r"\d  \S+( \S+)?  ([\d.]+ ?)+", line)][-5:]
    for number, row in enumerate(rows, start=1):
        weights = [float(each) for each in row.rsplit("  ", 1)[1].split()]
        assert len(weights) == number
        assert sum(weights) == pytest.approx(1, abs=0.03)


def test_what_does_nothing_is_said_in_one_line(walked: Walked) -> None:
    assert walked("teach")[-1] == "'teach' does nothing here; ? lists keys and commands"
    assert walked("\x1b]0;title\x07")[-1] == "'\\x1b]0;title\\x07' does nothing here; ? lists keys and commands"


def test_help_lists_every_key_that_acts(walked: Walked) -> None:
    lines = walked("?")
    assert "space: Sample one token" in lines
    assert "ctrl+r: Redo what was undone" in lines
    assert drawn(lines) == set()


def test_an_experiment_without_its_question_says_what_is_missing(walked: Walked) -> None:
    lines = walked("contrast", "z", "I prefer oat milk on", "contrast")
    assert "corrupt" in lines[lines.index(next(line for line in lines if "path" not in line and "needs" in line))]
    start = next(n for n, line in enumerate(lines) if line.startswith("residual stream"))
    assert lines[start + 1] == 'columns: I, " prefer", " oat", " milk", " in"'
    assert lines[start + 5].startswith("layer 3: ")
    assert lines[start + 5].endswith(" 1.00")  # the last position after the last block is the clean one's
    assert drawn(lines) == set()


def test_hostile_text_is_escaped(walked: Walked) -> None:
    lines = walked(
        "prompt", "text", "tokens", prompt="a\x1b]52;c;aGk=\x07\u202eb", choice=ModelChoice(tokenizer="bytes")
    )
    assert drawn(lines) == set()
    assert any("\\x1b]52;c;aGk=\\x07\\u202eb" in line for line in lines)


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (b" my", '" my"'),
        (b"my", "my"),
        (b"\n", "\\n"),
        (b"", '""'),
        (b"  ", '"  "'),
        (b"\xd0", "\\xd0"),
        (b".\n", ".\\n"),
    ],
)
def test_blanks_of_a_token_can_be_heard(piece: bytes, said: str) -> None:
    assert text.label(piece) == said


@pytest.mark.parametrize(
    ("line", "key"), [("", "enter"), (" ", "space"), ("?", "question_mark"), ("g", "g"), ("tokens ", "tokens")]
)
def test_a_line_is_a_key_or_a_command(line: str, key: str) -> None:
    assert key_of_line(line) == key


def test_nothing_is_said_of_an_empty_walk_that_is_not_there() -> None:
    for lines in (words.prompt_lines, words.tokens_lines, words.chart_lines, words.text_lines, words.status_lines):
        assert list(lines(Frame()))
