"""Gemma 3 with a vision model: its files are read for the language model alone, and say so."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_folders import build, reconfigure, refusal, rewrite
from reference_models import CASES, ids

from core.loading import description

VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Any]:
    """The folder of a small model with vision, and the model."""
    torch.manual_seed(0)
    config = transformers.Gemma3Config(
        text_config=CASES["gemma3"][1] | {"final_logit_softcapping": None},
        vision_config=VISION,
        mm_tokens_per_image=4,
        image_token_index=80,
    )
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model.save_pretrained(tmp_path)
    return tmp_path, model


def test_the_language_model_has_the_logits_of_transformers(both: tuple[Path, Any]) -> None:
    """Of a text without images."""
    folder, model = both
    text = ids() % 80
    with torch.inference_mode():
        assert (build(folder)(text) - model(text).logits).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("old", "new"),
    [("", ""), ("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head.")],
)
def test_the_names_of_older_files(old: str, new: str, both: tuple[Path, Any]) -> None:
    """Tensors stand under `model.language_model` or `language_model.model`; the vision model's are counted."""
    folder, _ = both
    before = build(folder)
    rewrite(folder, lambda tensors: {name.replace(old, new, 1) if old else name: t for name, t in tensors.items()})
    rewrite(
        folder,
        lambda tensors: {name.removeprefix("model.") if "vision" in name else name: t for name, t in tensors.items()},
    )
    again = build(folder)
    for one, other in zip(before.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "tensors of other parts are not used" in description.describe(folder).note


def test_sizes_that_a_file_leaves_out(both: tuple[Path, Any]) -> None:
    """Are those of transformers' config class."""
    folder, _ = both
    text = json.loads((folder / "config.json").read_text())["text_config"]
    left_out = ("vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings")
    reconfigure(folder, text_config={key: value for key, value in text.items() if key not in left_out})
    known = transformers.Gemma3TextConfig()
    config = description.describe(folder).config
    assert (config.vocab_size, config.heads, config.kv_heads) == (262_208, 8, 4)
    assert (config.head_dim, config.context) == (known.head_dim, known.max_position_embeddings)
    assert description.read_metadata(folder)[1] == known.vocab_size


def test_another_language_model_and_its_cap_are_refused(both: tuple[Path, Any]) -> None:
    folder, _ = both
    text = json.loads((folder / "config.json").read_text())["text_config"]
    reconfigure(folder, text_config=text | {"model_type": "gemma9_text"})
    assert "gemma9_text" in refusal(folder)
    reconfigure(folder, text_config=text | {"final_logit_softcapping": 30.0})
    assert "final_logit_softcapping is 30.0" in refusal(folder)
