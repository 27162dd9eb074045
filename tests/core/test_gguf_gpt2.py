"""GPT-2 in GGUF: its matrices are [in, out] in folders and [out, in] in GGUF files, in every number format there."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf_files import Q
from model_folders import CPU
from reference_models import ids, reference
from test_stored_formats import quantize

from core.engine.config import ModelConfig
from core.loading import description, weights
from core.loading.families import FAMILIES
from core.loading.families.layouts import as_stored

TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def write(path: Path, model: Any, kind: Q) -> dict[str, torch.Tensor]:
    """Write the model as llama.cpp's converter does; returns its state with the numbers that the file holds."""
    config = model.config
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.n_inner)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config.n_layer)
    state = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        turned = name.endswith(TRANSPOSED)
        numbers = (value.t() if turned else value).contiguous().numpy()
        exact = kind if numbers.ndim == 2 and "wpe" not in name else Q.F32
        packed = gguf.quantize(numbers, exact) if exact in (Q.F16, Q.BF16) else quantize(numbers, exact)
        known = names.get_name(name.removeprefix("transformer."), try_suffixes=(".weight", ".bias"))
        writer.add_tensor(known, packed, raw_dtype=None if exact in (Q.F32, Q.F16) else exact)
        back = torch.from_numpy(gguf.dequantize(packed, exact)).float()
        state[name] = back.t() if turned else back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


@pytest.mark.parametrize("packing", [None, "stored"])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ3_S"])
@torch.inference_mode()
def test_every_number_format_has_the_distribution_of_transformers(
    kind: str, packing: str | None, tmp_path: Path
) -> None:
    """Of the numbers in the file, which transformers is given."""
    model = reference("gpt2", n_embd=256, n_inner=512, n_head=4, initializer_range=0.05)
    model.load_state_dict(write(tmp_path / "m.gguf", model, Q[kind]), strict=False)
    described = description.describe(tmp_path / "m.gguf")
    assert described.family == "GPT-2"
    ours = weights.build_model(described, CPU, torch.float32, packing)
    p, q = (logits.double().log_softmax(-1) for logits in (model(ids()).logits, ours(ids())))
    assert p.exp().std() > 1e-3
    assert (p.exp() * (p - q)).sum(-1).mean() < (1e-5 if packing else 1e-8)


def test_layouts_of_gguf_change_at_most_the_order_of_rows() -> None:
    """So that rows of blocks can be taken from a file as they are. Norms and what chooses experts have no blocks."""
    config = ModelConfig(vocab_size=1, embed_dim=48, heads=4, group=2, positions="rotary", blocks=1)
    rows = torch.arange(config.kv_heads * (config.group + 2) * config.head_dim).float()[:, None]
    unblocked = ("norm", "ffn_gate_inp", "position_embd")
    found = {
        (family.title, name): layout(rows, config)
        for family in FAMILIES.values()
        for name, layout in family.gguf_layouts.items()
        if layout is not as_stored and not any(part in name for part in unblocked)
    }
    assert len(found) > 5
    assert [name for name, moved in found.items() if not torch.equal(moved.sort(dim=0).values, rows)] == []
