"""LoRA on mixtures of experts: on single experts and routers as transformers of the merged weights, or refused by name.

peft wrote one pair of matrices for each expert while transformers had experts as modules; now it writes one pair for
all experts of a block, under `target_parameters`.
"""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from adapters import base, save_adapter
from reference_models import ids, reference
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.loading.adapters.attach import attach

EXPERTS = {
    "mixtral": ("block_sparse_moe.experts.1.w1", "block_sparse_moe.experts.4.w2", "block_sparse_moe.experts.0.w3"),
    "qwen2-moe": ("mlp.experts.0.gate_proj", "mlp.experts.5.down_proj", "mlp.shared_expert.up_proj"),
    "qwen3-moe": ("mlp.experts.0.up_proj", "mlp.experts.2.gate_proj", "mlp.experts.5.down_proj"),
}
ROUTERS = {"mixtral": "block_sparse_moe.gate", "qwen2-moe": "mlp.gate", "qwen3-moe": "mlp.gate"}
RANK, FACTOR = 4, 2.0


def write_adapter(folder: Path, shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """An adapter of modules of these shapes; returns what it adds to the weight of each."""
    numbers = torch.Generator().manual_seed(0)
    tensors, added = {}, {}
    for module, (rows, columns) in shapes.items():
        down, up = (0.4 * torch.randn(shape, generator=numbers) for shape in ((RANK, columns), (rows, RANK)))
        tensors |= {f"base_model.model.{module}.lora_{end}.weight": each for end, each in (("A", down), ("B", up))}
        added[f"{module}.weight"] = FACTOR * up @ down
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = [module.partition(".layers.1.")[2] for module in shapes]
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": FACTOR * RANK, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return added


@pytest.mark.parametrize("case", EXPERTS)
def test_single_experts_and_routers_are_those_of_the_merged_weights(case: str, tmp_path: Path) -> None:
    """At every position; at scale 0 bit for bit the base."""
    reference(case).save_pretrained(tmp_path / "base")
    shutil.copytree(tmp_path / "base", tmp_path / "merged")
    path = tmp_path / "merged" / "model.safetensors"
    weights = load_file(path)
    modules = [f"model.layers.1.{part}" for part in (*EXPERTS[case], ROUTERS[case])]
    added = write_adapter(tmp_path / "lora", {module: weights[f"{module}.weight"].shape for module in modules})
    save_file({name: value + added.get(name, 0) for name, value in weights.items()}, path, {"format": "pt"})
    family, model = base(tmp_path / "base")
    plain = model(ids())
    adapter, _ = attach(tmp_path / "lora", family, model, 1.0)
    assert adapter.size()[0] == len(modules)
    with torch.inference_mode():
        wanted = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(ids()).logits
    assert (model(ids()) - wanted).abs().max() < 1e-4
    assert (plain - wanted).abs().max() > 0.1
    adapter.scale = 0
    assert torch.equal(model(ids()), plain)


@pytest.mark.parametrize("case", EXPERTS)
@pytest.mark.parametrize("parameter", ["mlp.experts.gate_up_proj", "mlp.gate.weight"])
def test_all_experts_of_a_block_together_are_refused_by_name(case: str, parameter: str, tmp_path: Path) -> None:
    """As peft writes them, beside a module that is supported."""
    model = reference(case)
    model.save_pretrained(tmp_path / "base")
    save_adapter(tmp_path / "lora", model, target_modules=["q_proj"], target_parameters=[parameter])
    with pytest.raises(UserError, match=rf"'target_parameters' is \['{parameter}'\], which is not supported"):
        attach(tmp_path / "lora", *base(tmp_path / "base"), 1.0)


def test_all_experts_of_a_block_in_gguf_are_refused_by_name(tmp_path: Path) -> None:
    """llama.cpp stacks their matrices as it stacks their weights."""
    reference("qwen3-moe").save_pretrained(tmp_path / "base")
    writer = gguf.GGUFWriter(tmp_path / "lora.gguf", "qwen3moe")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 8.0)
    for end, shape in (("a", (6, 4, 40)), ("b", (6, 24, 4))):
        writer.add_tensor(f"blk.1.ffn_up_exps.weight.lora_{end}", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"lora\.gguf changes blk\.1\.ffn_up_exps, which this Qwen3-MoE model lacks"):
        attach(tmp_path / "lora.gguf", *base(tmp_path / "base"), 1.0)
