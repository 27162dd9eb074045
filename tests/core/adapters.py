"""Adapters that peft writes for small models of transformers, and a GGUF adapter as llama.cpp's converter writes it."""

import json
import warnings
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf_files import gguf_name
from model_folders import CPU
from safetensors.torch import load_file

from core.engine.model import Transformer
from core.loading import description, weights
from core.loading.families import FAMILIES
from core.loading.families.family import Family


def save_adapter(folder: Path, model: Any, **settings: Any) -> Any:
    """Write an adapter of `model` with random numbers; returns the model of peft, whose logits are the reference."""
    from peft import LoraConfig, get_peft_model  # late: it takes seconds
    from peft.utils.warning import PeftWarning

    with warnings.catch_warnings(action="ignore", category=PeftWarning):  # to print one, pytest-xdist imports peft
        adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8} | settings)).eval()
        numbers = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=numbers))
        adapted.save_pretrained(folder)
    return adapted


def reconfigure(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def base(folder: Path) -> tuple[Family, Transformer]:
    """The family and the weights of a model folder."""
    found = description.describe(folder)
    family = next(family for family in FAMILIES.values() if family.title == found.family)
    return family, weights.build_model(found, CPU, torch.float32)


def write_gguf_adapter(folder: Path, path: Path, config: Any, **metadata: str) -> None:
    """The adapter of peft in `folder` as llama.cpp's convert_lora_to_gguf.py stores it."""
    architecture = config.model_type
    writer = gguf.GGUFWriter(path, metadata.get("architecture", architecture))
    writer.add_type(metadata.get("type", gguf.GGUFType.ADAPTER))
    writer.add_string(gguf.Keys.Adapter.TYPE, metadata.get("adapter_type", "lora"))
    writer.add_float32(
        gguf.Keys.Adapter.LORA_ALPHA, json.loads((folder / "adapter_config.json").read_text())["lora_alpha"]
    )
    for name, value in load_file(folder / "adapter_model.safetensors").items():
        module, _, end = name.removeprefix("base_model.model.").rpartition(".lora_")
        stored = value.numpy()
        if architecture == "llama" and end == "B.weight" and module.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads
            stored = stored.reshape(heads, 2, -1, stored.shape[1]).swapaxes(1, 2).reshape(stored.shape)
        writer.add_tensor(f"{gguf_name(module)}.weight.lora_{end[0].lower()}", stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
