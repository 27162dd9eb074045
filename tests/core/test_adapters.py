"""LoRA adapters against peft: logits at every position, on fp32 and packed weights, from folders and GGUF files."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import base, save_adapter, write_gguf_adapter
from gguf_files import saved, write_gguf
from model_folders import CPU
from reference_models import ids, reference

from core.engine.packed.linear import matrix
from core.loading import description, weights
from core.loading.adapters.attach import attach
from core.loading.families import FAMILIES

GPT2 = ["c_attn", "c_proj", "c_fc"]
LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"target_modules": GPT2, "fan_in_fan_out": True}),
    "gpt2-dora": ("gpt2", {"target_modules": GPT2, "use_dora": True}),
    "gpt2-all-biases": ("gpt2", {"target_modules": GPT2, "bias": "all"}),
    "gpt2-own-biases-rslora": ("gpt2", {"target_modules": GPT2, "bias": "lora_only", "use_rslora": True}),
    "gpt2-embedding": ("gpt2", {"target_modules": ["c_attn", "wte"], "modules_to_save": ["ln_f", "c_fc"]}),
    "gpt2-head": ("gpt2-untied-relu", {"target_modules": ["c_attn", "lm_head"], "modules_to_save": ["wte", "wpe"]}),
    "llama": ("llama", {"target_modules": LLAMA, "lora_bias": True}),
    "llama-dora": ("llama", {"target_modules": LLAMA, "use_dora": True}),
    "llama-dora-biases": ("llama-biases", {"target_modules": LLAMA, "use_dora": True, "bias": "all"}),
    "llama-patterns": (
        "llama",
        {
            "target_modules": r".*\.(q|v)_proj",
            "rank_pattern": {r"layers\.1.*q_proj": 2},
            "alpha_pattern": {"v_proj": 32},
        },
    ),
    "llama-some-layers": ("llama", {"target_modules": LLAMA, "layers_to_transform": [1]}),
    "llama-tied": (
        "llama-one-kv-head-tied",
        {"target_modules": ["v_proj", "embed_tokens"], "modules_to_save": ["norm", "input_layernorm"]},
    ),
    "qwen3": ("qwen3", {"target_modules": "all-linear", "modules_to_save": ["lm_head", "q_norm"]}),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapted_model_computes_what_peft_computes(tmp_path: Path, name: str) -> None:
    """At every position; and at scale 0 bit for bit the base."""
    case, settings = ADAPTERS[name]
    model = reference(case)
    model.save_pretrained(tmp_path / "base")
    adapted = save_adapter(tmp_path / "lora", model, **settings)
    family, transformer = base(tmp_path / "base")
    plain = transformer(ids())
    adapter, _ = attach(tmp_path / "lora", family, transformer, 1.0)
    with torch.inference_mode():
        wanted = adapted(ids()).logits
    assert (transformer(ids()) - wanted).abs().max() < 1e-4
    assert (plain - wanted).abs().max() > 0.1
    adapter.scale = 0
    assert torch.equal(transformer(ids()), plain)


def test_the_scale_multiplies_what_is_added(tmp_path: Path) -> None:
    """W + k·s·B·A in float64 for three scales, set one after the other on one model."""
    model = reference("llama")
    model.save_pretrained(tmp_path / "base")
    merged = copy.deepcopy(model).double()
    save_adapter(tmp_path / "lora", model, target_modules=["q_proj", "down_proj"])
    family, transformer = base(tmp_path / "base")
    adapter, _ = attach(tmp_path / "lora", family, transformer, 1.0)
    for scale in (0.5, -1.5, 3.0):
        theirs = copy.deepcopy(merged)
        for layer, adapted in zip(theirs.model.layers, model.model.layers, strict=True):
            for own, lora in (
                (layer.self_attn.q_proj, adapted.self_attn.q_proj),
                (layer.mlp.down_proj, adapted.mlp.down_proj),
            ):
                down, up = lora.lora_A["default"].weight.double(), lora.lora_B["default"].weight.double()
                own.weight.data += scale * 2 * (up @ down)
        adapter.scale = scale
        with torch.inference_mode():
            wanted = theirs(ids()).logits
        assert (transformer(ids()) - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("packing", ["int8", "int4"])
def test_an_adapter_works_beside_packed_weights(tmp_path: Path, packing: str) -> None:
    """The same as beside the dequantized weights in fp32, and off it takes the compiled path bit for bit."""
    model = saved(tmp_path / "base")
    save_adapter(tmp_path / "lora", model, target_modules=LLAMA, use_dora=True)
    found = description.describe(tmp_path / "base")
    family, plain = base(tmp_path / "base")
    packed = weights.build_model(found, CPU, torch.float32, packing)
    tokens = torch.randint(0, 61, (1, 9), generator=torch.Generator().manual_seed(0))
    before = packed(tokens)
    for name, module in plain.named_modules():
        if name.startswith("blocks.") and isinstance(module, torch.nn.Linear):
            module.weight.data = matrix(packed.get_submodule(name))
    plain.embed.weight.data, plain.unembed.weight.data = matrix(packed.embed), matrix(packed.unembed)
    attach(tmp_path / "lora", family, plain, 1.0)
    adapter, _ = attach(tmp_path / "lora", family, packed, 1.0)
    assert (packed(tokens) - plain(tokens)).abs().max() < 0.02
    assert (packed(tokens) - before).abs().max() > 0.3
    adapter.scale = 0
    assert torch.equal(packed(tokens), before)


@pytest.mark.parametrize("name", ["Llama", "Qwen3"])
def test_an_adapter_of_either_format_works_on_a_base_of_either(tmp_path: Path, name: str) -> None:
    """Folder and GGUF name modules, and Llama's GGUF orders the rows of queries and keys, in their own ways."""
    model = saved(tmp_path / "base", name)
    write_gguf(tmp_path / "base.gguf", model)
    adapted = save_adapter(tmp_path / "lora", model, target_modules=LLAMA)
    write_gguf_adapter(tmp_path / "lora", tmp_path / "lora.gguf", model.config)
    tokens = torch.randint(0, 61, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = adapted(tokens).logits
    for weights_path in ("base", "base.gguf"):
        for adapter_path in ("lora", "lora.gguf"):
            family, transformer = base(tmp_path / weights_path)
            _, stored = attach(tmp_path / adapter_path, family, transformer, 1.0)
            assert stored.ranks == (4,)
            assert (transformer(tokens) - wanted).abs().max() < 1e-4


def test_an_adapter_of_an_embedding_in_gguf_is_transposed(tmp_path: Path) -> None:
    """The converter stores A of an embedding as [V, r]."""
    import gguf
    import numpy as np

    model = saved(tmp_path / "base", tie_word_embeddings=False)
    adapted = save_adapter(tmp_path / "lora", model, target_modules=["embed_tokens"])
    layer = adapted.base_model.model.model.embed_tokens
    writer = gguf.GGUFWriter(tmp_path / "lora.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 8.0)
    for end, value in (("a", layer.lora_embedding_A["default"].T), ("b", layer.lora_embedding_B["default"])):
        writer.add_tensor(f"token_embd.weight.lora_{end}", np.ascontiguousarray(value.detach().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    family, transformer = base(tmp_path / "base")
    attach(tmp_path / "lora.gguf", family, transformer, 1.0)
    tokens = torch.arange(9)[None]
    with torch.inference_mode():
        assert (transformer(tokens) - adapted(tokens).logits).abs().max() < 1e-4


def test_bf16_models_add_in_float32(tmp_path: Path) -> None:
    """One rounding at the end of each module, none before."""
    model = saved(tmp_path / "base")
    save_adapter(tmp_path / "lora", model, target_modules=["v_proj"])
    found = description.describe(tmp_path / "base")
    transformer = weights.build_model(found, CPU, torch.bfloat16)
    family = FAMILIES["llama"]
    qkv = transformer.get_submodule("blocks.0.attention.qkv")
    x = torch.randn(1, 3, 256, generator=torch.Generator().manual_seed(1)).bfloat16()
    plain = qkv(x)
    attach(tmp_path / "lora", family, transformer, 1.0)
    lora = model.model.layers[0].self_attn.v_proj
    down, up = lora.lora_A["default"].weight, lora.lora_B["default"].weight
    wanted = (plain[..., -128:].float() + 2 * (x.float() @ down.T @ up.T)).bfloat16()
    assert torch.equal(qkv(x)[..., -128:], wanted)
    assert torch.equal(qkv(x)[..., :-128], plain[..., :-128])
