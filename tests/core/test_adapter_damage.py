"""Adapters that are broken, of another model or of a kind that is not supported: one line that names the cause."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import base, reconfigure, save_adapter, write_gguf_adapter
from gguf_files import saved
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.loading.adapters.attach import attach
from core.loading.adapters.files import locate

Folder = Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A base and an adapter of it, and the model's config."""
    folder = tmp_path_factory.mktemp("adapters")
    model = saved(folder / "base")
    save_adapter(folder / "lora", model, target_modules=["q_proj", "v_proj"])
    return folder, model.config


@pytest.fixture
def lora(made: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of the adapter."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((made[0] / "lora" / name).read_bytes())
    return tmp_path


@pytest.fixture
def refusal(made: tuple[Path, Any]) -> Callable[[Path], str]:
    """Why an adapter is refused, in one line."""

    def refuse(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            attach(path, *base(made[0] / "base"), 1.0)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    return refuse


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: value.contiguous() for name, value in change(load_file(path)).items()}, path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peft_type": "IA3"}, ("peft_type", "IA3", "LORA")),
        ({"peft_type": None}, ("peft_type", "LORA")),
        ({"layer_replication": [[0, 1], [0, 2]]}, ("layer_replication",)),
        ({"alora_invocation_tokens": [1, 2]}, ("alora_invocation_tokens",)),
        ({"trainable_token_indices": [1]}, ("trainable_token_indices",)),
        ({"use_qalora": True}, ("use_qalora",)),
        ({"target_parameters": ["gate_up_proj"]}, ("target_parameters",)),
        ({"kasa_config": {"beta": 1}}, ("kasa_config",)),
        ({"a_key_of_the_future": 3}, ("a_key_of_the_future", "3")),
        ({"init_lora_weights": "pissa_niter_4"}, ("init_lora_weights", "pissa_niter_4", "convert")),
        ({"init_lora_weights": ["pissa"]}, ("init_lora_weights",)),
        ({"r": 5}, ("rank 4", "r is 5")),
        ({"r": 0}, ("r", "at least 1")),
        ({"r": "four"}, ("r", "four", "a whole number")),
        ({"lora_alpha": "much"}, ("lora_alpha", "much")),
        ({"lora_alpha": 1e400}, ("lora_alpha", "finite")),
        ({"target_modules": ["k_proj"]}, ("target_modules", "q_proj")),
        ({"target_modules": {"q": 1}}, ("target_modules", "a list")),
        ({"rank_pattern": {"(": 4}}, ("rank_pattern", "invalid pattern")),
        ({"rank_pattern": {"(a+)+b": 4}}, ("rank_pattern", "too long")),
        ({"target_modules": "(.*)*x"}, ("target_modules", "too long")),
        ({"rank_pattern": {"q_proj": "x"}}, ("r", "'x'")),
    ],
)
def test_a_setting_that_cannot_be_met_is_named(
    lora: Path, refusal: Callable[[Path], str], values: dict[str, Any], words: tuple[str, ...]
) -> None:
    """Each key of the configuration is used, has no effect, or is refused by its name."""
    reconfigure(lora, **values)
    text = refusal(lora)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        (("lora_A.weight", "lora_C.weight"), ("lora_C.weight",)),
        (("base_model.model.", "base."), ("base.model.layers",)),
        (("layers.0", "layers.9"), ("layers.9", "lacks")),
        (("self_attn.q_proj", "self_attn.z_proj"), ("target_modules",)),
        (("q_proj.lora_A", "q_proj.lora_embedding_X"), ("lora_embedding_X",)),
    ],
)
def test_a_tensor_with_another_name_is_named(
    lora: Path, refusal: Callable[[Path], str], rename: tuple[str, str], words: tuple[str, ...]
) -> None:
    rewrite(lora, lambda tensors: {name.replace(*rename): value for name, value in tensors.items()})
    text = refusal(lora)
    assert all(word in text for word in words), text


def test_half_of_a_pair_other_sizes_and_non_finite_numbers_are_named(
    lora: Path, refusal: Callable[[Path], str]
) -> None:
    tensors = load_file(lora / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"
    rewrite(lora, lambda all: {key: value for key, value in all.items() if key != name})
    assert "only one of the two" in refusal(lora)
    rewrite(lora, lambda _: tensors | {name: torch.zeros(64, 4)})
    assert "64 × 4" in (text := refusal(lora))
    assert "128 × 4" in text
    rewrite(lora, lambda _: tensors | {name: torch.full((128, 4), torch.inf)})
    assert "non-finite" in refusal(lora)
    rewrite(lora, lambda _: tensors | {name.replace("weight", "bias"): torch.zeros(127)})
    assert "127" in refusal(lora)
    rewrite(lora, lambda _: {})
    assert "no tensors" in refusal(lora)


def test_a_norm_takes_no_low_rank_matrices(lora: Path, refusal: Callable[[Path], str]) -> None:
    reconfigure(lora, target_modules=["norm", "q_proj", "v_proj"])
    extra = {f"base_model.model.model.norm.lora_{each}.weight": torch.zeros(4, 256) for each in "A"}
    extra |= {"base_model.model.model.norm.lora_B.weight": torch.zeros(256, 4)}
    rewrite(lora, lambda tensors: tensors | extra)
    assert "norm" in refusal(lora)


def test_files_that_are_no_adapter(tmp_path: Path, lora: Path) -> None:
    """A missing path, a folder without a configuration, a pickle, another file."""
    for name, words in (
        (str(tmp_path / "absent"), "there is no adapter"),
        ("", "there is no adapter"),
        (str(tmp_path.parent), "adapter_config.json"),
    ):
        with pytest.raises(UserError, match=words):
            locate(name)
    (tmp_path / "adapter.txt").write_text("x")
    with pytest.raises(UserError, match="not a LoRA adapter"):
        locate(str(tmp_path / "adapter.txt"))
    (lora / "adapter_model.safetensors").rename(lora / "adapter_model.bin")
    with pytest.raises(UserError, match="pickle"):
        locate(str(lora / "adapter_model.bin"))
    assert locate(str(lora)) == lora


def test_a_folder_with_a_pickle_only_or_a_broken_file(lora: Path, refusal: Callable[[Path], str]) -> None:
    path = lora / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert "cut short" in refusal(lora)
    path.rename(lora / "adapter_model.bin")
    assert "pickle" in refusal(lora)
    (lora / "adapter_model.bin").unlink()
    assert "adapter_model.safetensors" in refusal(lora)
    (lora / "adapter_config.json").write_text("[" * 100_000)
    assert "adapter_config.json" in refusal(lora)
    (lora / "adapter_config.json").write_text(json.dumps([1]))
    assert "adapter_config.json" in refusal(lora)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"type": "model"}, ("general.type", "model")),
        ({"adapter_type": "control"}, ("adapter.type", "control")),
        ({"architecture": "gpt2"}, ("architecture", "gpt2", "llama")),
    ],
)
def test_another_kind_of_gguf_is_named(
    made: tuple[Path, Any], tmp_path: Path, refusal: Callable[[Path], str], metadata: dict[str, str], words: tuple[str]
) -> None:
    write_gguf_adapter(made[0] / "lora", tmp_path / "lora.gguf", made[1], **metadata)
    text = refusal(tmp_path / "lora.gguf")
    assert all(word in text for word in words), text
