"""`generate --save`, `replay` and `export`: a saved walk replays the same, and every difference is listed."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.loading import models
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sessions import reader, record, writer
from core.walk.session import Session

Here = Callable[..., subprocess.CompletedProcess[bytes]]
SMALL = ("--tokenizer", "bytes", "--model", "model5", "--embed-dim", "16", "--device", "cpu")
N = 12
"""Tokens that are generated after a prompt of three tokens."""


@pytest.fixture
def saved(run_here: Here, tmp_path: Path) -> Path:
    path = tmp_path / "walk.json"
    done = run_here("generate", "oat", "-n", str(N), "--top-k", "50", "--seed", "4", "--save", str(path), *SMALL)
    assert (done.returncode, done.stderr) == (0, b"")
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values))


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def differing(done: subprocess.CompletedProcess[bytes]) -> list[int]:
    return [line["position"] for line in lines(done) if line["event"] == "difference"]


# The same ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--json",), ("--dtype", "fp32", "--device", "cpu"), ("--tolerance", "1e-6")])
def test_a_saved_walk_replays_the_same(more: tuple[str, ...], saved: Path, run_here: Here) -> None:
    before = saved.read_bytes()
    done = run_here("replay", str(saved), *more)
    assert (done.returncode, done.stderr) == (0, b"")
    if "--json" in more:
        first, last = lines(done)
        assert (first["event"], first["tokens"], first["dtype"]) == ("replay", 3 + N, "fp32")
        assert first["saved"] == {"model": "model5", "device": "cpu", "dtype": "fp32"}
        assert (last["same"], last["positions"], last["differences"]) == (True, N, 0)
        assert last["largest"] < 1e-5
    else:
        assert f"{N} positions are the same" in done.stdout.decode()
    assert saved.read_bytes() == before


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_16_bit_format_replays_exactly(dtype: str, run_here: Here, tmp_path: Path) -> None:
    """The replay feeds tokens one by one as the walk did, so rounding is the same."""
    path = tmp_path / "walk.json"
    run_here("generate", "oat", "-n", "20", "--dtype", dtype, "--save", str(path), *SMALL)
    done = run_here("replay", str(path), "--tolerance", "0", "--json")
    assert (done.returncode, lines(done)[-1]["largest"]) == (0, 0.0)


def test_a_walk_of_several_models_is_replayed_with_each(run_here: Here, tmp_path: Path) -> None:
    """Draws are repeated with the model that drew them, log-probabilities with the model that measured them."""
    walk = Session(models.load_model(ModelChoice(name="model2", tokenizer="bytes", device="cpu")), Sampler(seed=3))
    list(walk.prefill(list(b"oat")))
    list(walk.generate(4))
    walk.redraw()
    walk = walk.moved_to(models.load_model(ModelChoice(name="model4", tokenizer="bytes", device="cpu")))
    walk.sampler = Sampler.of(temperature=0)
    list(walk.generate(2))
    walk.take(7)
    list(walk.score())
    path = tmp_path / "walk.json"
    writer.write_record(path, record.record_of(walk))
    done = run_here("replay", str(path), "--json")
    assert (done.returncode, differing(done)) == (0, [])
    assert [line["model"] for line in lines(done) if line["event"] == "replay"] == ["model4", "model2"]
    assert lines(done)[-1]["positions"] == 9 + 4
    done = run_here("replay", str(path), "--model", "model4", "--json")
    assert done.returncode == 1
    assert set(differing(done)) <= {3, 4, 5, 6}


def test_samples_are_branches_of_one_tree(run_here: Here, tmp_path: Path) -> None:
    path = tmp_path / "walk.json"
    done = run_here("generate", "oat", "-n", "5", "--samples", "3", "--save", str(path), "--json", *SMALL)
    walk = reader.read_record(path)
    assert (walk.branches, walk.prompt, walk.cursor) == (3, "oat", 8)
    steps = [line for line in lines(done) if line["event"] == "step"]
    assert [token.id for token in walk.path()[3:]] == [step["id"] for step in steps if step["sample"] == 0]
    drawn = {(row.token.sampler.seed, row.token.u) for row in walk.rows if row.token.sampler}
    assert drawn == {(step["sample"], step["u"]) for step in steps}
    assert run_here("replay", str(path)).returncode == 0


# Different -----------------------------------------------------------------------------------------------------------


def test_a_changed_logprob_is_listed(saved: Path, run_here: Here) -> None:
    edit(saved, lambda values: values["nodes"][6].update(logprob=values["nodes"][6]["logprob"] - 0.01))
    done = run_here("replay", str(saved), "--json")
    assert (done.returncode, differing(done)) == (1, [6])
    (found,) = [line for line in lines(done) if line["event"] == "difference"]
    assert found["logprob"] == pytest.approx(found["logprob_now"] - 0.01, abs=1e-5)
    assert found["drawn"] == found["id"]
    assert run_here("replay", str(saved), "--tolerance", "0.02").returncode == 0
    text = run_here("replay", str(saved)).stdout.decode()
    assert re.search(r"^ +6 ", text, re.MULTILINE)
    assert f"1 of {N} positions differ" in text


def test_a_changed_id_is_listed(saved: Path, run_here: Here) -> None:
    """A token that was not drawn; the tokens after it are predicted from it, so they would differ too."""

    def change(values: dict[str, Any]) -> None:
        values["nodes"][-1]["id"] = (values["nodes"][-1]["id"] + 1) % 256
        values["pieces"][str(values["nodes"][-1]["id"])] = f"{values['nodes'][-1]['id']:02x}"

    before = reader.read_record(saved).path()[-1].id
    edit(saved, change)
    done = run_here("replay", str(saved), "--json")
    assert (done.returncode, differing(done)) == (1, [2 + N])
    assert lines(done)[1]["drawn"] == before


def test_a_u_that_the_seed_does_not_give_is_listed(saved: Path, run_here: Here) -> None:
    edit(saved, lambda values: values["samplers"][0].update(seed=5))
    done = run_here("replay", str(saved), "--json")
    assert (done.returncode, differing(done)) == (1, [*range(3, 3 + N)])
    assert "its u differs from the one that the seed gives" in run_here("replay", str(saved)).stdout.decode()


@pytest.mark.parametrize("more", [("--weights-seed", "1"), ("--model", "model6"), ("--dtype", "bf16")], ids=str)
def test_other_weights_or_formats_differ_at_most_positions(more: tuple[str, ...], saved: Path, run_here: Here) -> None:
    done = run_here("replay", str(saved), "--json", "--tolerance", "1e-6", *more)
    assert done.returncode == 1
    assert len(differing(done)) > N / 2
    assert lines(done)[-1]["differences"] == len(differing(done))
    assert lines(done)[-1]["largest"] > 1e-6


# User errors ---------------------------------------------------------------------------------------------------------


def without_choice(values: dict[str, Any]) -> None:
    values["models"][0]["choice"] = None


def elsewhere(values: dict[str, Any]) -> None:
    values["models"][0]["choice"].update(name="nobody/nothing-of-the-kind")


USER_ERRORS = {
    "a version to come": (lambda values: values.update(version=99), (), "newer"),
    "a model that is not here": (elsewhere, (), "nobody/nothing-of-the-kind is not on this machine"),
    "a model nobody knows": (without_choice, (), "does not say where model5 comes from"),
    "another tokenizer": (
        lambda values: values["pieces"].update({"111": "7a"}),
        (),
        "this walk has the tokens of bytes, in which id 111 is 'z'",
    ),
    "a device that is not here": (lambda values: None, ("--device", "cuda:99"), "cuda:99"),
    "no dtype": (lambda values: None, ("--dtype", "fp7"), "fp7"),
    "no model": (lambda values: None, ("--model", "model99"), "model99"),
    "a tolerance below zero": (lambda values: None, ("--tolerance", "-1"), "tolerance"),
    "no tolerance": (lambda values: None, ("--tolerance", "nan"), "tolerance"),
}


@pytest.mark.parametrize("name", USER_ERRORS)
def test_a_user_error_is_one_line(name: str, saved: Path, run_here: Here) -> None:
    change, more, says = USER_ERRORS[name]
    edit(saved, change)
    before = saved.read_bytes()
    done = run_here("replay", str(saved), *more)
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    assert error.startswith("tokenwalk: ")
    assert error.count("\n") == 1
    assert says in error
    assert saved.read_bytes() == before


@pytest.mark.parametrize("command", [("replay",), ("export", "--format", "csv"), ("walk", "--resume")], ids=str)
def test_a_broken_file_is_one_line(command: tuple[str, ...], saved: Path, run_here: Here) -> None:
    for text in ("", "{", "[]", saved.read_text("utf-8")[:-9], '{"format": "\x1b[2J"}'):
        saved.write_text(text)
        done = run_here(*command, str(saved))
        error = done.stderr.decode()
        assert (done.returncode, done.stdout, error.count("\n")) == (2, b"", 1)
        assert "walk.json" in error
        assert error[:-1].isprintable()
        assert saved.read_text() == text


def test_resume_refuses_options_of_model_and_sampler(saved: Path, run_here: Here) -> None:
    done = run_here("--resume", str(saved), "--model", "model2")
    assert (done.returncode, b"has its own model and sampler" in done.stderr) == (2, True)


def test_resume_without_a_saved_session_is_an_error(
    run_here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sessions.storage.default_folder", lambda: tmp_path)
    done = run_here("--resume")
    assert (done.returncode, b"no saved session" in done.stderr) == (2, True)


def test_a_save_folder_that_is_missing_is_an_error_before_generating(run_here: Here, tmp_path: Path) -> None:
    done = run_here("generate", "oat", "--save", str(tmp_path / "none" / "walk.json"), *SMALL)
    assert (done.returncode, done.stdout, b"there is no folder" in done.stderr) == (2, b"", True)


# Export --------------------------------------------------------------------------------------------------------------

HOSTILE = {
    "=": b'=HYPERLINK("http://x","y")',
    "+": b"+1",
    "-": b"-1",
    "@": b"@SUM(A1)",
    "pipe": b"|`a`|\n\r<b>[x](http://y)*_#",
    "escape": b"\x1b]52;c;aGk=\x07\xc2\x9b",
    "half": b"\xe5\xad",
    "bidi": "\u202etxt".encode(),
}


@pytest.fixture
def walk_of_control_codes(saved: Path) -> Path:
    """A walk whose tokens are formulas, markup and control codes."""

    def change(values: dict[str, Any]) -> None:
        for node, piece in zip(values["nodes"][3:], HOSTILE.values(), strict=False):
            values["pieces"][str(node["id"])] = piece.hex()

    edit(saved, change)
    return saved


def test_exported_json_lines_have_every_number(saved: Path, run_here: Here) -> None:
    rows = lines(run_here("export", str(saved), "--format", "jsonl"))
    path = reader.read_record(saved).path()
    assert [row["position"] for row in rows] == [*range(3 + N)]
    for row, token in zip(rows, path, strict=True):
        assert (row["id"], bytes.fromhex(row["bytes"]), row["origin"]) == (token.id, token.piece, token.origin)
        assert (row["u"], row["sampled_probability"], row["redraw"]) == (token.u, token.sampled_probability, 0)
        if token.score and token.sampler:
            assert (row["logit"], row["logprob"]) == (token.score.logit, token.score.logprob)
            assert (row["rank"], row["entropy_bits"]) == (token.score.rank + 1, token.score.entropy_bits)
            assert row["probability"] == pytest.approx(2 ** -row["surprisal_bits"])
            assert (row["sampler"]["stages"], row["model"]) == ("temp=1,top_k=50,top_p=1,min_p=0", "model5")


def test_exported_csv_has_no_formula(walk_of_control_codes: Path, run_here: Here) -> None:
    text = run_here("export", str(walk_of_control_codes), "--format", "csv").stdout.decode("utf-8")
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    head, *rows = csv.reader(io.StringIO(text))
    tokens = reader.read_record(walk_of_control_codes).path()
    assert len(rows) == len(tokens)
    for row, token in zip(rows, tokens, strict=True):
        cells = dict(zip(head, row, strict=True))
        for cell in row:
            assert cell[:1] not in "=+-@" or not cell or re.fullmatch(r"-?[\d.e+-]+", cell)
        assert bytes.fromhex(cells["bytes"]) == token.piece
        assert not token.score or float(cells["logprob"]) == token.score.logprob
    assert not any(re.match(r"[=+@]|-\D", cell) for row in rows for cell in row)


def test_exported_markdown_has_no_markup_from_tokens(walk_of_control_codes: Path, run_here: Here) -> None:
    text = run_here("export", str(walk_of_control_codes), "--format", "markdown").stdout.decode("utf-8")
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    fence = re.search(r"^(`{3,})text\n(.*?)\n\1\n", text, re.DOTALL | re.MULTILINE)
    assert fence
    assert fence[1] not in fence[2]
    rows = [line for line in text[fence.end() :].splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + N
    for row in rows[2:]:
        assert len(re.findall(r"(?<!\\)\|", row)) == 9
        assert not re.search(r"(?<!\\)[`<\[*_]", row)


def test_an_export_needs_a_format_that_exists(saved: Path, run_here: Here) -> None:
    for more in ((), ("--format", "xls")):
        done = run_here("export", str(saved), *more)
        assert (done.returncode, done.stdout) == (2, b"")
