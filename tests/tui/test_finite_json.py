"""Output in JSON has no NaN and no infinity: weights whose attention overflows are named instead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.loading import tokenizers
from tui.reports.json_values import json_line, rank_json

Here = Callable[..., Any]


@pytest.fixture
def overflowing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of finite weights, whose products of queries and keys are beyond float32."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    for part in "qk":
        tensors[f"model.layers.1.self_attn.{part}_proj.weight"].fill_(3e19)
    save_file(tensors, path)
    monkeypatch.setattr(tokenizers, "load_model_tokenizer", lambda path, name: tokenizers.load_tokenizer("bytes"))
    return tmp_path / "m"


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    "command", ["lens attention", "lens flow", "lens logit", "lens context", "next", "generate", "score"]
)
def test_numbers_that_are_not_finite_are_named(
    command: str, as_json: bool, overflowing: Path, run_here: Here, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("oats and milk")
    words = command.split()
    prompt = str(tmp_path / "text") if command == "score" else "oats and milk"
    done = run_here(
        *words, prompt, "--model", str(overflowing), "--device", "cpu", "--dtype", "fp32", *(["--json"] * as_json)
    )
    assert done.returncode == 2
    text = done.stderr.decode()
    assert len(text.splitlines()) == 1
    assert "non-finite" in text
    if command == "lens attention":
        assert "blocks.1.attention.attend" in text
    assert b"NaN" not in done.stdout
    assert b"Infinity" not in done.stdout


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_hold_is_a_user_error(value: float) -> None:
    with pytest.raises(UserError, match="not finite"):
        json_line({"a": [{"b": value}]})


def test_ranks_are_counted_from_1() -> None:
    assert [rank_json(rank) for rank in (0, 41, None)] == [1, 42, None]
