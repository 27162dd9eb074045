"""Commands with a model of the Hub's cache at a revision: Pythia, its training checkpoints, its parallel blocks."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from core.lenses.logit import LayerPrediction
from core.sampling.values import Candidate
from tui.lenses.logit import short_name

Here = Callable[..., subprocess.CompletedProcess[bytes]]
ID = "EleutherAI/pythia-tiny"
FP32 = ("--dtype", "fp32", "--device", "cpu", "--json")


@pytest.fixture(autouse=True)
def in_cache(pythia_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(pythia_cache))
    monkeypatch.chdir(tmp_path)


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


@torch.inference_mode()
def expected(cache: Path, commit: str, text: bytes) -> torch.Tensor:
    """The next-token probabilities of transformers."""
    folder = cache / "models--EleutherAI--pythia-tiny" / "snapshots" / (40 * commit)
    logits = transformers.AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([list(text_ids(folder, text))]))
    return logits.logits[0, -1].softmax(-1)


def text_ids(folder: Path, text: bytes) -> list[int]:
    return list(
        transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")).encode(text.decode())
    )


@pytest.mark.parametrize(
    ("options", "commit"),
    [
        ((), "a"), (("--revision", "main"), "a"), (("--revision", "step1000"), "b"),
        (("--revision", "refs/pr/1"), "c"), (("--revision", 40 * "d"), "d"),
    ],
)  # fmt: skip
def test_a_revision_has_its_own_probabilities(
    options: tuple[str, ...], commit: str, run_here: Here, pythia_cache: Path
) -> None:
    """Those of transformers with the files of that commit."""
    (found,) = objects(run_here("next", "oat milk", "-m", ID, *options, "-k", "4", *FP32))
    want = expected(pythia_cache, commit, b"oat milk")
    for each in found["top"]:
        assert each["probability"] == pytest.approx(want[each["id"]].item(), abs=1e-5)
    assert found["top"][0]["id"] == want.argmax().item()


def test_models_lists_the_revisions_as_names(run_here: Here) -> None:
    """Each can be given to --model."""
    names = [each["name"] for each in objects(run_here("models", "--json")) if each["name"].startswith(ID)]
    assert names == [ID, f"{ID}@refs/pr/1", f"{ID}@step1000", f"{ID}@{40 * 'd'}"]
    for name in names:
        assert objects(run_here("generate", "oat", "-m", name, "-n", "2", *FP32))[-1]["tokens"] == 2


def test_two_revisions_are_compared(run_here: Here) -> None:
    """By --with-revision, by names, and against the main branch."""
    pairs = [
        ("-m", ID, "--revision", "step1000", "--with-revision", "refs/pr/1"),
        ("-m", f"{ID}@step1000", "--with", f"{ID}@refs/pr/1"),
        ("-m", f"{ID}@step1000", "--with-revision", "refs/pr/1"),
        ("-m", f"{ID}@step1000", "--with", ID, "--with-revision", "refs/pr/1"),
    ]
    found = [objects(run_here("compare", "oat milk", *pair, *FP32))[0] for pair in pairs]
    assert all(each == found[0] for each in found[1:])


@pytest.mark.parametrize("lens", ["flow", "attention", "logit", "context", "last-token", "weights"])
def test_every_lens_prints_a_pythia(lens: str, run_here: Here) -> None:
    """As JSON and as text; a parallel block has one row of the logit lens."""
    arguments = ("lens", lens, "oat milk", "-m", ID, "--revision", "step1000", "--dtype", "fp32")
    (found,) = objects(run_here(*arguments, "--json"))
    if lens == "logit":
        assert [layer["name"] for layer in found["layers"]] == ["embedding", "block 0", "block 1", "output"]
    printed = run_here(*arguments)
    assert (printed.returncode, printed.stderr) == (0, b"")


@pytest.mark.parametrize(("name", "short"), [("block 3", "block 3"), ("block 12 mlp", "12 mlp"), ("output", "output")])
def test_the_logit_lens_names_a_parallel_block(name: str, short: str) -> None:
    candidate = Candidate(0, b"", 0, 0.0, 1.0, 1.0)
    assert short_name(LayerPrediction(name, None, (), candidate, 0.0)) == short


def test_parity_of_a_revision_in_16_bits(run_here: Here) -> None:
    """The device lens loads the same revision again, in float32."""
    (found,) = objects(
        run_here("lens", "device", "oat", "-m", f"{ID}@step1000", "--dtype", "bf16", "--device", "cpu", "--json")
    )
    assert found["parity"]["kl_bits"] < 1e-3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", "model1", "--revision", "step1"), "--revision step1: model1 has no revisions"),
        (("--revision", "step1"), "model1 has no revisions"),
        (("-m", f"{ID}@a", "--revision", "b"), "has a revision already; leave out --revision"),
        (("-m", ID, "--revision", "../x"), "'../x' is not a revision"),
    ],
)
def test_impossible_revisions_are_one_line(arguments: tuple[str, ...], says: str, run_here: Here) -> None:
    refused = run_here("next", "oat", *arguments)
    assert (refused.returncode, refused.stdout, refused.stderr.count(b"\n")) == (2, b"", 1)
    assert says in refused.stderr.decode()
