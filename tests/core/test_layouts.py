"""What a family says of the layout of its files is undone: order of rows, transposed matrices, numbers folded in."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf_files import Q, saved, write_gguf
from model_folders import CPU, build, refusal, rewrite
from torch import Tensor

from core.engine.config import ModelConfig
from core.engine.packed.linear import matrix
from core.loading import description, weights
from core.loading.families import layouts


def plus_one(tensor: Tensor, config: ModelConfig) -> Tensor:
    return tensor.float() + 1


def backwards(tensor: Tensor, config: ModelConfig) -> Tensor:
    return tensor.flip(0)


def test_a_layout_may_fold_numbers_into_a_weight(llama: Path) -> None:
    """As Gemma stores the weight of a norm minus one; other norms stay."""
    described = replace(description.describe(llama), layouts={"layers.#.input_layernorm": plus_one})
    plain, model = build(llama), weights.build_model(described, CPU, torch.float32)
    for before, block in zip(plain.blocks, model.blocks, strict=True):
        assert torch.equal(block.norm1.weight, before.norm1.weight + 1)
        assert torch.equal(block.norm2.weight, before.norm2.weight)


@pytest.mark.parametrize("packing", [None, "stored", "int8", "int4"])
def test_a_layout_orders_the_rows_of_plain_and_of_packed_weights(packing: str | None, tmp_path: Path) -> None:
    """The same rows, whether numbers, int8 or the file's own 4-bit levels with their scales."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path), Q.Q4_1)
    described = description.describe(tmp_path / "m.gguf")
    turned = replace(described, layouts={**described.layouts, "blk.#.ffn_down": backwards})
    plain, model = (weights.build_model(each, CPU, torch.float32, packing) for each in (described, turned))
    for before, block in zip(plain.blocks, model.blocks, strict=True):
        assert torch.equal(matrix(block.feed_forward.down), matrix(before.feed_forward.down).flip(0))
        assert torch.equal(matrix(block.attention.out), matrix(before.attention.out))


def test_a_matrix_that_is_not_transposed_is_refused_with_its_shape(gpt2: Path, tmp_path: Path) -> None:
    """GPT-2's c_fc is [in, out] in the files; the error has our order, [out, in]."""
    folder = tmp_path / "gpt2"
    folder.mkdir()
    for path in gpt2.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    key = "transformer.h.1.mlp.c_fc.weight"
    rewrite(folder, lambda tensors: tensors | {key: tensors[key].t().contiguous()})
    assert "h.1.mlp.c_fc.weight is 24 × 96 in the weights, but 96 × 24" in refusal(folder)


def test_pairs_apart_undoes_the_order_of_gguf() -> None:
    """Rows 0 1 2 3 of a head of two pairs are first, second, first, second; each head alone, biases too."""
    config = ModelConfig(vocab_size=1, embed_dim=8, heads=2, positions="rotary")
    assert layouts.pairs_apart(torch.arange(8), config).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert layouts.pairs_apart(torch.arange(16).view(8, 2), config)[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]
