"""Every setting and every tensor of a file is used, known to change nothing, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import saved, write_gguf
from model_folders import build, reconfigure, refusal, rewrite
from reference_models import CASES, ids, reference
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.engine.model import Transformer
from core.loading import description, models
from core.loading.choice import ModelChoice


def difference(folder: Path, ours: Transformer) -> float:
    """The largest difference from the logits of transformers."""
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        return (theirs(ids() % 61).logits - ours(ids() % 61)).abs().max().item()


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0, which is not supported in a Llama model"),
        ({"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "turn": 2}}, "rope_parameters.turn is 2"),
        ({"per_layer_config": {"0": {"hidden_size": 3}}}, "per_layer_config"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is True"),
        ({"x\n\x1b[1m": [1] * 1000}, r"'x\n\x1b[1m' is [1, 1, 1"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused_by_name(values: dict[str, Any], says: str, llama: Path) -> None:
    """In config.json, and in an object inside it."""
    reconfigure(llama, **values)
    text = refusal(llama)
    assert says in text
    assert len(text) < 300
    assert "config.json" in text


def test_settings_without_effect_are_read_over(llama: Path) -> None:
    """Nulls, provenance, dropout, sampling, and values that mean a part is not there."""
    before = description.describe(llama).config
    reconfigure(
        llama, attn_logit_softcapping=None, torch_dtype="float32", attention_dropout=0.1, temperature=0.7,
        is_decoder=False, transformers_version="4.0", bos_token_id=7, per_layer_config=None,
    )  # fmt: skip
    assert description.describe(llama).config == before


@pytest.mark.parametrize("case", CASES)
def test_all_settings_that_transformers_writes_are_known(case: str, tmp_path: Path) -> None:
    """Those at their defaults too, which files of older versions have."""
    model = reference(case)
    model.save_pretrained(tmp_path)
    before = description.describe(tmp_path).config
    (tmp_path / "config.json").write_text(model.config.to_json_string(use_diff=False))
    assert description.describe(tmp_path).config == before


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("llama.attention.clamp_kqv", 8.0, "attention.clamp_kqv is 8.0"),
        ("llama.logit_scale", 0.5, "logit_scale is 0.5"),
        ("llama.attention.causal", False, "attention.causal is False"),
        ("general.type", "adapter", "general.type is 'adapter'"),
    ],
)
def test_a_setting_of_gguf_that_nothing_reads_is_refused_by_name(
    key: str, value: Any, says: str, tmp_path: Path
) -> None:
    """Those of the architecture; the type of the file is a model."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path), keys={key: value})
    assert says in refusal(tmp_path / "m.gguf")


def test_settings_of_others_in_gguf_are_read_over(tmp_path: Path) -> None:
    """Of other programs and other architectures, as llama.cpp does."""
    keys = {"quantize.imatrix.file": "x", "qwen2.logit_scale": 3.0, "general.name": "x", "llama.vocab_size": 61}
    write_gguf(tmp_path / "m.gguf", saved(tmp_path), keys=keys)
    description.describe(tmp_path / "m.gguf")


# An unembedding beside the embedding that it is tied to ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_a_stored_unembedding_that_differs_is_used_although_the_config_ties_it(name: str, tmp_path: Path) -> None:
    """As transformers does."""
    if name == "Llama":
        saved(tmp_path, tie_word_embeddings=True)
    else:
        import transformers

        config = transformers.GPT2Config(vocab_size=61, n_embd=24, n_layer=2, n_head=3, n_positions=64)
        transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    embedding = tensors[next(key for key in tensors if "embed_tokens" in key or "wte" in key)]
    head = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(1))
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": head})
    model = build(tmp_path)
    assert torch.equal(model.unembed.weight, head)
    assert not model.config.tied
    assert difference(tmp_path, model) < 1e-4


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_whole_file_is_preferred_to_the_files_of_an_index(llama: Path) -> None:
    """As transformers does; the choice is said where the weights come from."""
    tensors = load_file(llama / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, llama / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    model = build(llama)
    assert torch.equal(model.embed.weight, tensors["model.embed_tokens.weight"])
    assert difference(llama, model) < 1e-4
    assert description.describe(llama).note == "model.safetensors, not the files of its index"


def test_an_index_that_names_no_possible_file_is_refused(llama: Path) -> None:
    """The name is escaped and shortened."""
    (llama / "model.safetensors").rename(llama / "a.safetensors")
    name = "\x1b[31m" + "x" * 300
    (llama / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    said = refusal(llama)
    assert "1 of 1 weights files are missing, such as '\\x1b[31m" in said
    assert "\x1b" not in said and len(said) < 400


def test_a_tensor_in_two_files_is_refused(llama: Path) -> None:
    """Both files are named."""
    (llama / "model.safetensors").rename(llama / "a.safetensors")
    save_file({"model.norm.weight": torch.ones(256)}, llama / "b.safetensors")
    text = refusal(llama)
    assert all(name in text for name in ("model.norm.weight", "a.safetensors", "b.safetensors"))


# The number format that is chosen -------------------------------------------------------------------------------------


def test_a_tensor_type_that_is_not_known_is_named(tmp_path: Path) -> None:
    """By its number; the file is not called corrupt."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path))
    data = bytearray((tmp_path / "m.gguf").read_bytes())
    at = data.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8  # after the rank and one size
    data[at : at + 4] = (42).to_bytes(4, "little")
    (tmp_path / "m.gguf").write_bytes(data)
    text = refusal(tmp_path / "m.gguf")
    assert "output_norm.weight has the unknown tensor type 42" in text


def test_the_choice_of_files_is_shown_of_the_model(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the line that says where the weights come from."""
    (llama / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    from core.loading import tokenizers

    monkeypatch.setattr(tokenizers, "load_model_tokenizer", lambda path, name: tokenizers.load_tokenizer("bytes"))
    info = models.load_model(ModelChoice(name=str(llama), device="cpu", dtype="fp32")).info
    assert info.weights == f"{llama} (model.safetensors, not the files of its index)"
