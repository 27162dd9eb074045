"""`--steer FILE[=STRENGTH]` on the command line: next, generate, compare, lens, search and replay."""

import json
import subprocess
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.activations.steering_vector import SteeringVector
from core.causal.vector_files import write_vector

Run = Callable[..., subprocess.CompletedProcess[bytes]]
MODEL = ("-m", "model5", "--tokenizer", "bytes", "--device", "cpu")


@pytest.fixture(scope="module")
def joy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vector of width 64 with directions in layers 0 and 2."""
    path = tmp_path_factory.mktemp("vectors") / "joy.safetensors"
    direction = array("f", [(-1) ** n * n / 10 for n in range(64)]).tobytes()
    write_vector(path, SteeringVector("joy", ((0, direction), (2, direction))))
    return path


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_vector_changes_the_distribution_by_its_strength(run_here: Run, joy: Path) -> None:
    """1 where none is given; at 0 it is the model to the last digit; two add up."""
    command = ("next", "oat", *MODEL, "--json")
    plain, whole, one, two, off, twice = (
        lines(run_here(*command, *more))[0]["top"]
        for more in (
            (),
            ("--steer", f"{joy}"),
            *(("--steer", f"{joy}={strength}") for strength in ("1", "2", "0")),
            ("--steer", f"{joy}=1", "--steer", f"{joy}"),
        )
    )
    assert whole == one != plain
    assert off == plain != two
    assert [each["id"] for each in twice] == [each["id"] for each in two]
    assert all(abs(a["logit"] - b["logit"]) < 1e-5 for a, b in zip(twice, two, strict=True))


def test_a_saved_walk_holds_its_vectors_and_replays(run_here: Run, joy: Path, tmp_path: Path) -> None:
    """Also without the file of the vector; by generate and by search."""
    vector = tmp_path / "vector.safetensors"
    vector.write_bytes(joy.read_bytes())
    for command in (("generate", "oat", "-n", "6"), ("search", "oat", "--beam", "2", "-n", "3")):
        file = tmp_path / f"{command[0]}.json"
        lines(run_here(*command, *MODEL, "--steer", f"{vector}=1.5", "--save", str(file), "--json"))
        (patch,) = json.loads(file.read_text())["patches"]
        assert (patch["kind"], patch["factor"], patch["vector"]["name"]) == ("steer", 1.5, "joy")
        vector.rename(tmp_path / "gone")
        assert run_here("replay", str(file)).returncode == 0
        (tmp_path / "gone").rename(vector)


def test_a_lens_and_a_comparison_see_the_steered_model(run_here: Run, joy: Path) -> None:
    logit = ("lens", "logit", "oat", *MODEL, "--json")
    (plain,), (steered,) = lines(run_here(*logit)), lines(run_here(*logit, "--steer", str(joy)))
    differ = [a["top"] != b["top"] for a, b in zip(plain["layers"], steered["layers"], strict=True)]
    assert not any(differ[:2])
    assert all(differ[3:])
    compare = ("compare", "oat", *MODEL, "--steer", str(joy), "--json")
    assert lines(run_here(*compare, "--with", "model5"))[0]["kl_ab_bits"] > 1e-4
    assert lines(run_here(*compare, "--with-dtype", "fp32"))[0]["kl_ab_bits"] == 0


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("=2", "names no file"),
        ("joy.safetensors=much", "the strength must be a finite number, not 'much'"),
        ("joy.safetensors=nan", "the strength must be a finite number, not 'nan'"),
        ("nothing.gguf", "cannot be read"),
        ("pyproject.toml", "must end in .safetensors or .gguf"),
    ],
)
def test_a_wrong_option_is_one_line(option: str, problem: str, run_here: Run) -> None:
    done = run_here("next", "oat", *MODEL, "--steer", option)
    assert done.returncode == 2
    assert problem in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_a_vector_of_another_width_is_one_line(run_here: Run, joy: Path) -> None:
    done = run_here("next", "oat", *MODEL, "--embed-dim", "32", "--steer", str(joy))
    assert done.returncode == 2
    assert "is 64 wide, but the residual stream of this model is 32 wide" in done.stderr.decode()
