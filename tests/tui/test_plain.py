"""`--plain`: what is said, that it is true, and that no glyph, box or escape sequence is in it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here
from rich.segment import Segment
from rich.text import Text
from textual._compositor import Compositor
from textual.strip import Strip

from core.language import _
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.walk.session import Session
from tui import lenses as pages
from tui.drawing import text
from tui.drawing.picture import svg
from tui.drawing.spoken import restored, spoken
from tui.plain import words
from tui.plain.keyboard import key_of_line
from tui.plain.spoken_app import SpokenWalk
from tui.runner import Frame
from tui.settings import Settings
from tui.sharing.view import lines_of

TRAINED = ModelChoice(name="model5-trained", device="cpu")
PROMPT = "I prefer oat milk in"
Walked = Callable[..., list[str]]
OTHERWISE = "the other view is drawn otherwise; what is said stays the same"
QUICK = ("score", "branches", "flow", "attention", "logit", "context", "last_token", "weights", "lab")


@pytest.fixture
def walked(tmp_path: Path) -> Walked:
    """The lines that are said while lines of commands are read from a pipe."""

    def walk(*commands: str, prompt: str = PROMPT, choice: ModelChoice = TRAINED, count: int = 3) -> list[str]:
        app = SpokenWalk(choice, Sampler(), prompt, settings=Settings(fps=60), count=count, sessions=tmp_path / "walks")
        return said_by(app, *commands)

    return walk


def test_a_step_is_announced_with_its_numbers(walked: Walked) -> None:
    """They are those of a session without a screen."""
    session = Session(load_model(TRAINED))
    list(session.prefill(session.model.tokenizer.encode(PROMPT)))
    token, before = session.step(), session.chart().entropy_bits
    assert token.score is not None
    lines = walked(" ")
    assert (
        f'5  " my"  {100 * token.score.probability:.2f}%  rank {token.score.rank + 1}  '
        f"entropy {token.score.entropy_bits:.2f}, then {before:.2f} bits"
    ) in lines


def test_a_candidate_is_taken_and_taken_back(walked: Walked) -> None:
    lines = walked("down", "enter", "u", "2")
    picked = next(n for n, line in enumerate(lines) if line.startswith('2  " our"'))
    assert lines[picked + 1].startswith('5  " our"  0.035%  rank 2  entropy')
    assert lines[picked + 2] == "1 token taken back"
    assert lines[-1].startswith('5  " our"')


def test_every_panel_is_read(walked: Walked) -> None:
    lines = walked("prompt", "f2", "next", "f4", "status")
    assert lines[lines.index("prompt, 5 tokens:") + 1] == PROMPT
    assert lines[lines.index("token ids, 5 tokens:") + 1] == "0  I  id 40"
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
    assert numbers == list(range(5, 25))
    assert "text, 20 tokens generated:" in lines


def test_travel_and_settings_are_announced(walked: Walked) -> None:
    lines = walked("home", "right", "[", "<", "s", "7", "s", "x", "escape")
    assert "position 1 of 5, after I" in lines
    assert 'position 2 of 5, after " prefer"' in lines
    assert any(line.startswith("sampler T 0.90 k") for line in lines)
    assert any(line.endswith(", seed 7") for line in lines)
    assert "'x' is not the number that is asked for" in lines
    assert lines[-1] == "closed"


def test_a_prompt_is_written(walked: Walked) -> None:
    lines = walked("i", "We like", " ")
    assert "prompt of 2 tokens" in lines
    assert lines[-1].startswith("2  ")


def test_a_prompt_has_several_lines(walked: Walked) -> None:
    """A backslash at the end of a line goes on in the next; two are one backslash, and the end."""
    lines = walked("i", "We like\\", "tea\\\\", "prompt", choice=ModelChoice(tokenizer="bytes"))
    assert lines[-2:] == ["We like", "tea\\"]


def test_an_empty_line_keeps_what_is_there_and_two_quotes_are_empty(walked: Walked) -> None:
    lines = walked("i", "", "prompt", "i", '""', "prompt")
    assert lines.count(PROMPT) == 3  # read twice by the question, once by the panel
    assert lines[-1] == "prompt: empty"


def test_lenses_are_read_without_drawing(walked: Walked) -> None:
    """One after the other, each with its title and at least a line."""
    lines = walked(" ", "n", *QUICK, "sampler", "softmax", "o", "guess", "enter", "my", "draft")
    starts = [n for n, line in enumerate(lines) if line.startswith("lens ")]
    titles = [lines[n].split(", ", 1)[1].split(":")[0] for n in starts]
    assert titles == [
        _(pages.named(name).TITLE) for name in ("continuations", *QUICK, "sampler", "softmax", "guess", "draft")
    ]
    assert all(after - before > 1 for before, after in zip(starts, [*starts[1:], len(lines)], strict=True))
    assert drawn(lines) == set()
    assert not any("   " in line.strip() for line in lines)


def test_nothing_is_drawn(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk, a lens and a dialog draw nothing, as nobody sees it."""
    times, draw = [], Compositor._render_chops
    monkeypatch.setattr(Compositor, "_render_chops", lambda *asked: times.append(asked) or draw(*asked))
    walked(" ", "sampler", "?", "escape")
    assert times == []


async def test_a_picture_is_drawn_when_it_is_asked_for(tmp_path: Path) -> None:
    app = SpokenWalk(TRAINED, Sampler(), PROMPT, settings=Settings(fps=60), sessions=tmp_path / "walks")
    app.say = app.listen = lambda _: None
    async with app.run_test() as pilot:
        await pilot.pause()
        assert "oat" in app.export_screenshot()


def test_the_sampler_is_explained_in_numbers(walked: Walked) -> None:
    """They are those of a session without a screen."""
    session = Session(load_model(TRAINED))
    list(session.prefill(session.model.tokenizer.encode(PROMPT)))
    session.sampler = Sampler.read("top_k=2")
    lens = session.explain()
    assert lens.drawn is not None
    lines = walked("P", "escape", "sampler", "f", "top_k=2", "f6")
    assert any(line.startswith(f'u {lens.u:.4f} draws " my" [0.0000, {lens.drawn.interval[1]:.4f})') for line in lines)
    assert any(line.startswith("1 top-k: k 2, 2 kept") for line in lines)
    assert sum("cut by" in line for line in lines[-14:]) == 8  # of the ten that are listed


def test_a_hidden_token_is_not_told_before_the_guess(walked: Walked) -> None:
    lines = walked("home", "guess", "enter", "hate")
    hidden = next(n for n, line in enumerate(lines) if line == "The next token is hidden.")
    asked = lines.index("your guess")
    assert "prefer" not in " ".join(lines[hidden : asked + 3])
    assert any(line.startswith("position 1: you") and '" prefer" came' in line for line in lines[hidden:])


def test_a_hidden_token_is_not_told_by_a_question_or_a_panel(walked: Walked) -> None:
    lines = walked("guess", "e", "E", "next")
    assert lines[-3:] == [
        "the next token is hidden; v shows the chart",
        "the next token is hidden; v shows the chart",
        "next token: not known yet",
    ]


def test_a_question_is_said_once(walked: Walked) -> None:
    """Its value is another one at each token, and is read by the lenses."""
    lines = walked("down", "e", "g")
    assert [line for line in lines if line.startswith("why")] == ['why " our", not " my": logit difference -7.95']


def test_the_pattern_of_attention_is_read_in_numbers(walked: Walked) -> None:
    lines = walked("attention")
    names = ["I", '" prefer"', '" oat"', '" milk"', '" in"']
    rows = [line for line in lines if re.match(r"\d  \S+( \S+)?: ", line)]
    for number, row in enumerate(rows, start=1):
        pairs = [each.rpartition(" ") for each in row.split(": ")[1].split(", ")]
        assert [name for name, _space, _weight in pairs] == names[:number]
        weights = [float(weight) for _name, _space, weight in pairs]
        assert sum(weights) == pytest.approx(1, abs=0.03)


BARE = re.compile(r"(?<![\w.])[+-]?\d+\.\d+ +[+-]?\d")
"""A number that stands beside another one, without a name between them."""
VECTORS = re.compile(r"(values|embedding|averaged|from)( [+-]?\d+\.\d+)+|histogram.*")
"""The first numbers of a vector, and a histogram, are lists."""
ASKED = ("z", "I prefer oat milk on")


@pytest.mark.parametrize("name", [kind.NAME for kind in pages.found() if kind.NAME not in ("candidates", "softmax")])
def test_each_row_of_a_lens_names_its_numbers(walked: Walked, name: str) -> None:
    """In each view, and in the row under the cursor."""
    keys = ("down", "o", "up", "shift+right", "o", "down")
    lines = walked(*ASKED, name, *keys, *(["home", "guess", "", "my"] if name == "guess" else []))
    lines = lines[next(n for n, line in enumerate(lines) if line.startswith("lens ")) + 1 :]
    assert [line for line in lines if BARE.search(VECTORS.sub("", line))] == []
    assert [line for line in lines if re.search(r"(^|\s)-(\s|$)|columns", line)] == []
    assert drawn(lines) == set()


def test_the_source_of_a_stage_is_read_line_by_line(walked: Walked) -> None:
    lines = walked("flow", "down", "down", "")
    code = lines[lines.index("x = E[i]") :]
    assert any("F.embedding(" in line for line in code)


def test_values_that_are_not_there_are_named(walked: Walked) -> None:
    """Nobody hears a dash, and a device that is not here has no times."""
    assert "cuda: this build of torch has no CUDA" in walked("device")


def test_a_circuit_is_heard_a_few_edges_at_a_time(walked: Walked) -> None:
    lines = walked(*ASKED, "circuit", "shift+right", "down")
    assert sum(line.startswith("rank ") for line in lines) == 11
    assert "20 more edges: down" in lines
    assert lines[-1].startswith("rank 2, sender ")


def test_a_view_that_only_draws_otherwise_says_so(walked: Walked) -> None:
    assert walked("o")[-1] == walked("context", "o")[-1] == OTHERWISE


def test_every_part_of_the_weights_is_read(walked: Walked) -> None:
    """Also those whose share the report draws with whole blocks, as the histogram has them."""
    lines = walked("weights")
    start, end = (next(n for n, line in enumerate(lines) if line.startswith(name)) for name in ("embedding:", "total:"))
    assert [line.split(":")[0] for line in lines[start:end]] == ["embedding", "position", "attention", "mlp", "norm"]
    assert lines[start] == "embedding: 52,800 weights, 0 biases, 211 kB, 20.55% of the parameters"
    assert lines[end].startswith("total: 256,960 parameters, 1.03 MB, as computed from the configuration")
    assert sum(line.startswith("histogram from") and "40 equal bins" in line for line in lines) == 1


def test_the_row_under_the_cursor_is_read_in_full_with_the_names_of_its_numbers(walked: Walked) -> None:
    lenses = ("weights", "o", "up", "n", "", "down", "logit", "up", "b", "down", "context", "up", "gradients", "down")
    lines = walked(*lenses)
    assert "embed.weight  825 x 64  its histogram is shown" in lines
    continued = [line for line in lines if re.search(r"^2  .* 3 tokens, [\d.]+ bits of surprisal$", line)]
    assert len(continued) == 2  # among all, and under the cursor
    layer = next(line for line in lines if line.startswith("block 3 mlp: entropy"))
    assert re.fullmatch(r"block 3 mlp: entropy [\d.]+ bits, likeliest (.+ [\d.]+%), target \1, rank 1", layer)
    assert not any(line.startswith("on ") for line in lines)
    assert any(re.search(r"entropy [\d.]+ bits, [\d.]+ effective candidates, \d+ for 90 %", line) for line in lines)
    assert any(re.match(r"position 1, token .*, integrated [+-]", line) for line in lines)


def test_tab_reaches_each_list_of_a_screen(walked: Walked) -> None:
    lines = walked("x", "enter", "s", "tab", "tab", "down", "tab")
    sweep = [line for line in lines if re.match(r"\d+  zero head .* [+-]\d", line)]
    assert [line for line in lines if line.startswith("at ")] == [
        "at zero head 0.0",
        *(f"at {each}" for each in sweep[:2]),
    ]
    assert lines[-1] == "the patch to add: kind zero, part head, block 0, head 0; at kind"


def test_only_keys_that_act_are_named(walked: Walked) -> None:
    assert "keys: escape close, n new, e earlier" in walked("t", "escape")


def test_nothing_is_loaded_to_compare_before_it_is_chosen(walked: Walked) -> None:
    lines = walked("c", "escape")
    assert "m chooses model B" in lines
    assert "loading B ..." not in lines


def test_what_does_nothing_is_said_in_one_line(walked: Walked) -> None:
    assert walked("teach")[-1] == "'teach' does nothing here; ? lists keys and commands"
    assert walked("\x1b]0;title\x07")[-1] == "'\\x1b]0;title\\x07' does nothing here; ? lists keys and commands"


def test_help_lists_every_key_that_acts(walked: Walked) -> None:
    lines = walked("?")
    assert "space: Sample one token" in lines
    assert "ctrl+r: Redo what was taken back" in lines
    assert drawn(lines) == set()


def test_an_experiment_without_its_question_says_what_is_missing(walked: Walked) -> None:
    lines = walked("contrast", "z", "I prefer oat milk on", "contrast")
    assert "corrupt" in lines[lines.index(next(line for line in lines if "path" not in line and "needs" in line))]
    start = next(n for n, line in enumerate(lines) if line.startswith("residual stream"))
    assert re.fullmatch(
        r'layer 3: I \S+, " prefer" \S+, " oat" \S+, " milk" \S+, " in" 1.00',  # the last position is the clean one's
        lines[start + 4],
    )
    assert drawn(lines) == set()


SIGNS = "→ ✓ · × ≤ 🙂  ‹"
"""Signs that the app draws too, in the text of a model."""


def test_signs_in_the_text_of_a_model_stay_what_they_are(walked: Walked) -> None:
    lines = walked("flow", "text", "branches", "N", f"a {SIGNS}", prompt=f"a {SIGNS}")
    assert f"text  characters {len(SIGNS) + 2}  a {SIGNS}" in lines
    assert f"a {SIGNS}" in lines


@pytest.mark.parametrize("sign", SIGNS.split())
def test_a_sign_of_a_token_is_no_sign_of_the_app(sign: str) -> None:
    assert spoken(sign) != sign
    assert restored(spoken(text.label(sign.encode()))) == sign
    assert restored(spoken(text.run_text([f" {sign}   {sign}".encode()]))) == f'" {sign}   {sign}"'


def test_what_leaves_the_app_has_no_private_character() -> None:
    token = text.label("→".encode())
    assert lines_of([Strip([Segment(token)])])[1] == ((("→", 0),),)
    assert "→" in svg([Text(token)], 10, (0, 0, 0), (255, 255, 255))


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
        (b"    ", '"    "'),
        (b"\xd0", "\\xd0"),
        (b".\n", ".\\n"),
    ],
)
def test_blanks_of_a_token_can_be_heard(piece: bytes, said: str) -> None:
    assert restored(spoken(text.label(piece))) == said


@pytest.mark.parametrize(
    ("line", "key"), [("", "enter"), (" ", "space"), ("?", "question_mark"), ("g", "g"), ("tokens ", "tokens")]
)
def test_a_line_is_a_key_or_a_command(line: str, key: str) -> None:
    assert key_of_line(line) == key


def test_nothing_is_said_of_an_empty_walk_that_is_not_there() -> None:
    for lines in (words.prompt_lines, words.tokens_lines, words.chart_lines, words.text_lines, words.status_lines):
        assert list(lines(Frame()))


def test_the_first_line_of_a_training_is_said_once(walked: Walked, trainings_folder: Path) -> None:
    """As a change of it, not as what its screen shows as well."""
    lines = walked("t", "1=model1", "steps=2", "evaluate every=2", "")
    assert len([line for line in lines if line.startswith("training of ") and "preparing" in line]) == 1
    assert any(line.startswith("keys: ") and "pause" in line for line in lines), "its screen is open"
