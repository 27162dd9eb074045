"""Owns what a model's files say it is: its family, its `ModelConfig`, what they call our parameters. Needs no torch.

GPT-2 and the Llama family in the layouts of Hugging Face (`config.json` beside .safetensors) and of GGUF.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.engine.config import Activation, Bias, ModelConfig
from core.errors import UserError
from core.formats import files
from core.formats.checked import CheckedValues, read_json
from core.formats.files import PICKLES, Stored

FAMILIES = {"gpt2": "GPT-2", "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
Names = Mapping[str, tuple[str, ...]]

# Our modules, and the modules of a file that lie one below the other in each; # is the number of the block.
GPT2: Names = {
    "embed": ("wte",),
    "position": ("wpe",),
    "norm": ("ln_f",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("h.#.ln_1",),
    "blocks.#.attention.qkv": ("h.#.attn.c_attn",),
    "blocks.#.attention.out": ("h.#.attn.c_proj",),
    "blocks.#.norm2": ("h.#.ln_2",),
    "blocks.#.feed_forward.up": ("h.#.mlp.c_fc",),
    "blocks.#.feed_forward.down": ("h.#.mlp.c_proj",),
}
LLAMA: Names = {
    "embed": ("embed_tokens",),
    "norm": ("norm",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("layers.#.input_layernorm",),
    "blocks.#.attention.qkv": tuple(f"layers.#.self_attn.{part}_proj" for part in "qkv"),
    "blocks.#.attention.q_norm": ("layers.#.self_attn.q_norm",),
    "blocks.#.attention.k_norm": ("layers.#.self_attn.k_norm",),
    "blocks.#.attention.out": ("layers.#.self_attn.o_proj",),
    "blocks.#.norm2": ("layers.#.post_attention_layernorm",),
    "blocks.#.feed_forward.up": ("layers.#.mlp.gate_proj", "layers.#.mlp.up_proj"),
    "blocks.#.feed_forward.down": ("layers.#.mlp.down_proj",),
}
GGUF_GPT2: Names = {
    "embed": ("token_embd",),
    "position": ("position_embd",),
    "norm": ("output_norm",),
    "unembed": ("output",),
    "blocks.#.norm1": ("blk.#.attn_norm",),
    "blocks.#.attention.qkv": ("blk.#.attn_qkv",),
    "blocks.#.attention.out": ("blk.#.attn_output",),
    "blocks.#.norm2": ("blk.#.ffn_norm",),
    "blocks.#.feed_forward.up": ("blk.#.ffn_up",),
    "blocks.#.feed_forward.down": ("blk.#.ffn_down",),
}
GGUF_LLAMA: Names = {
    **GGUF_GPT2,
    "blocks.#.attention.qkv": tuple(f"blk.#.attn_{part}" for part in "qkv"),
    "blocks.#.attention.q_norm": ("blk.#.attn_q_norm",),
    "blocks.#.attention.k_norm": ("blk.#.attn_k_norm",),
    "blocks.#.feed_forward.up": ("blk.#.ffn_gate", "blk.#.ffn_up"),
}
IGNORED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", "rope_freqs.weight")
"""What files hold that is no parameter: masks and angles, which are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A model as its files describe it, before any number is read."""

    family: str
    config: ModelConfig
    where: str
    """The file that says so."""
    names: Names
    tensors: Mapping[str, Stored]
    """By their names in the files, without the prefix that a family may put before all of them."""
    transposed: bool = False
    """Whether the matrices of blocks are stored inputs × outputs (GPT-2's Conv1D)."""
    interleaved: bool = False
    """Whether pairs that rotary positions turn lie side by side in queries and keys (GGUF of Llama)."""


def family(architecture: str) -> str:
    """The name of a family we have. Raises `UserError` for another."""
    if architecture not in FAMILIES:
        known = ", ".join("Llama (SmolLM2 too)" if each == "Llama" else each for each in FAMILIES.values())
        raise UserError(
            f"this is a {architecture or 'nameless'} model, an architecture that is not here; there are {known}"
        )
    return FAMILIES[architecture]


def describe(path: Path) -> Described:
    """The model in a folder or .gguf file. Raises `UserError` for what is no model, broken or not of our families."""
    return _folder(path) if path.is_dir() else _gguf(path)


def outline(path: Path) -> tuple[CheckedValues, int]:
    """What a folder or .gguf file says of its model, and V, without looking at the weights of a folder."""
    if path.is_dir():
        said = read_json(path / "config.json")
        return said, said.count("vocab_size")
    file = files.read_weights_file(path)
    return CheckedValues(path.name, file.metadata), _embedding(file).shape[0]


# A folder in the layout of Hugging Face ------------------------------------------------------------------------------


def _folder(folder: Path) -> Described:
    said = read_json(folder / "config.json")
    architecture = said.get("model_type", "")
    title = family(architecture)
    if method := said.optional_object("quantization_config").get("quant_method", ""):
        raise UserError(f"the weights are packed by {method}, which is not known here; get them unpacked or as .gguf")
    stored = _safetensors(folder)
    prefix = "transformer." if architecture == "gpt2" else "model."
    return Described(
        family=title,
        config=_gpt2_config(said) if architecture == "gpt2" else _llama_config(said, architecture),
        where=said.source,
        names=GPT2 if architecture == "gpt2" else LLAMA,
        tensors={name.removeprefix(prefix): each for name, each in stored.items()},
        transposed=architecture == "gpt2",
    )


def _safetensors(folder: Path) -> dict[str, Stored]:
    """All tensors of a folder, from the files that its index names or else from those that are there."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        places = sorted({str(name) for name in read_json(index).optional_object("weight_map").values.values()})
        paths = [folder / Path(place).name for place in places]
        if missing := [path.name for path in paths if not path.exists()]:
            raise UserError(
                f"{folder} is not complete: {len(missing)} of {len(paths)} files of weights are missing, "
                f"such as {missing[0]}; download the model again"
            )
    else:
        paths = [folder / "model.safetensors"] if (folder / "model.safetensors").exists() else []
        paths = paths or sorted(folder.glob("*.safetensors"))
    if not paths:
        for path in sorted(folder.iterdir()):
            if path.suffix in PICKLES:
                files.refuse_pickle(path)
        raise UserError(f"{folder} has no .safetensors file; download the model again")
    return {name: stored for path in paths for name, stored in files.read_weights_file(path).tensors.items()}


def _gpt2_config(said: CheckedValues) -> ModelConfig:
    said.require("scale_attn_weights", True)
    said.require("scale_attn_by_inverse_layer_idx", False)
    said.require("add_cross_attention", False)
    return ModelConfig(
        vocab_size=said.count("vocab_size"),
        embed_dim=said.count("n_embd"),
        context=said.count("n_positions"),
        blocks=said.count("n_layer"),
        heads=said.count("n_head"),
        positions="learned",
        norm="layer",
        norm_eps=said.get("layer_norm_epsilon", 1e-5),
        pre_norm=True,
        feed_forward=True,
        mlp_size=said.get("n_inner", 0) or None,
        activation=_activation(said, "activation_function", "gelu_new"),
        final_activation=False,
        tied=said.get("tie_word_embeddings", True),
        biases=("qkv", "out", "mlp"),
    )


def _llama_config(said: CheckedValues, architecture: str) -> ModelConfig:
    heads = said.count("num_attention_heads")
    kv_heads = said.get("num_key_value_heads", heads)
    head_size = said.get("head_dim", 128 if architecture == "qwen3" else 0) or None
    rope = said.optional_object("rope_parameters")
    scaling = rope if rope.values else said.optional_object("rope_scaling")
    said.require("partial_rotary_factor", 1.0)
    base = rope.get("rope_theta", said.get("rope_theta", 10_000.0))
    width = head_size or said.count("hidden_size") // heads
    bias = said.get("attention_bias", False)
    biases: dict[Bias, bool] = {
        "qkv": bias or architecture == "qwen2",
        "out": bias and architecture != "qwen2",
        "mlp": said.get("mlp_bias", False),
    }
    return _rms_config(
        said,
        vocab_size=said.count("vocab_size"),
        embed_dim=said.count("hidden_size"),
        context=min(said.count("max_position_embeddings"), _window(said, architecture)),
        blocks=said.count("num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        rope_base=base,
        rope_divisors=_divisors(scaling, width, base, said),
        norm_eps=said.get("rms_norm_eps", 1e-6),
        qk_norm=architecture == "qwen3",
        mlp_size=said.count("intermediate_size"),
        activation=_activation(said, "hidden_act", "silu"),
        tied=said.get("tie_word_embeddings", False),
        biases=tuple(name for name, present in biases.items() if present),
    )


def _rms_config(said: CheckedValues, *, heads: int, kv_heads: int, **values: Any) -> ModelConfig:
    """What all of the Llama family share."""
    if kv_heads < 1 or heads % kv_heads:
        raise UserError(f"{said.source} says {kv_heads} key heads for {heads} query heads, which do not divide")
    return ModelConfig(
        heads=heads,
        group=heads // kv_heads,
        positions="rotary",
        norm="rms",
        pre_norm=True,
        feed_forward=True,
        gated=True,
        final_activation=False,
        **values,
    )


def _window(said: CheckedValues, architecture: str) -> float:
    """How far attention looks back: within a sliding window all positions see each other, so the context ends there."""
    if architecture == "mistral" and "sliding_window" not in said.values:
        return 4096
    if architecture == "llama" or (architecture != "mistral" and not said.get("use_sliding_window", False)):
        return math.inf
    return said.get("sliding_window", 0) or math.inf


def _divisors(rope: CheckedValues, width: int, base: float, said: CheckedValues) -> tuple[float, ...]:
    """What each pair's turn is divided by: nothing, the same, or Llama 3.1's, which leaves fast turns as they are."""
    kind = rope.get("rope_type", "") or rope.get("type", "default")
    if kind == "default":
        return ()
    factor = rope.get("factor", 1.0)
    if kind == "linear":
        return (factor,) * (width // 2)
    if kind != "llama3":
        raise UserError(f"{said.source} scales rotary positions by {kind!r}; known here are default, linear and llama3")
    low, high = rope.get("low_freq_factor", 1.0), rope.get("high_freq_factor", 4.0)
    trained = rope.get("original_max_position_embeddings", 0) or said.count("max_position_embeddings")
    divisors = []
    for pair in range(width // 2):
        turns = trained * base ** (-2 * pair / width) / (2 * math.pi)  # whole turns over the trained context
        kept = min(1.0, max(0.0, (turns - low) / (high - low)))
        divisors.append(1 / (kept + (1 - kept) / factor))
    return tuple(divisors)


# GGUF ----------------------------------------------------------------------------------------------------------------


def _embedding(file: files.WeightsFile) -> Stored:
    if "token_embd.weight" not in file.tensors:
        raise UserError(f"{file.path.name} has no token_embd.weight; it is not a whole model; download it again")
    return file.tensors["token_embd.weight"]


def _gguf(path: Path) -> Described:
    file = files.read_weights_file(path)
    whole, vocab_size = CheckedValues(path.name, file.metadata), _embedding(file).shape[0]
    architecture = whole.get("general.architecture", "")
    title = family(architecture)
    prefix = f"{architecture}."
    said = CheckedValues(path.name, {key.removeprefix(prefix): value for key, value in file.metadata.items()})
    said.require("expert_count", 0)
    read_config = _gguf_gpt2_config if architecture == "gpt2" else _gguf_llama_config
    return Described(
        family=title,
        config=read_config(said, file.tensors, vocab_size),
        where=said.source,
        names=GGUF_GPT2 if architecture == "gpt2" else GGUF_LLAMA,
        tensors=file.tensors,
        interleaved=architecture == "llama",
    )


def _gguf_gpt2_config(said: CheckedValues, tensors: Mapping[str, Stored], vocab_size: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        embed_dim=said.count("embedding_length"),
        context=said.count("context_length"),
        blocks=said.count("block_count"),
        heads=said.count("attention.head_count"),
        positions="learned",
        norm="layer",
        norm_eps=said.get("attention.layer_norm_epsilon", 1e-5),
        pre_norm=True,
        feed_forward=True,
        mlp_size=said.count("feed_forward_length"),
        activation="gelu_tanh",
        final_activation=False,
        tied="output.weight" not in tensors,
        biases=("qkv", "out", "mlp"),
    )


def _gguf_llama_config(said: CheckedValues, tensors: Mapping[str, Stored], vocab_size: int) -> ModelConfig:
    heads, width = said.count("attention.head_count"), said.count("embedding_length")
    head_size = said.get("attention.key_length", 0) or None
    head_dim = head_size or width // heads
    said.require("rope.dimension_count", head_dim)
    said.require("attention.value_length", head_dim)
    biases: dict[Bias, str] = {"qkv": "attn_q", "out": "attn_output", "mlp": "ffn_down"}
    window = said.get("attention.sliding_window", 0)
    return _rms_config(
        said,
        vocab_size=vocab_size,
        embed_dim=width,
        context=min(said.count("context_length"), window or math.inf),
        blocks=said.count("block_count"),
        heads=heads,
        kv_heads=said.get("attention.head_count_kv", heads),
        head_size=head_size,
        rope_base=said.get("rope.freq_base", 10_000.0),
        rope_divisors=_gguf_divisors(said, tensors, head_dim),
        norm_eps=said.get("attention.layer_norm_rms_epsilon", 1e-5),
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
        mlp_size=said.count("feed_forward_length"),
        activation="silu",
        tied="output.weight" not in tensors,
        biases=tuple(name for name, part in biases.items() if f"blk.0.{part}.bias" in tensors),
    )


def _gguf_divisors(said: CheckedValues, tensors: Mapping[str, Stored], head_dim: int) -> tuple[float, ...]:
    if stored := tensors.get("rope_freqs.weight"):
        if (stored.kind, stored.shape) != ("F32", (head_dim // 2,)):
            raise UserError(
                f"{said.source}: rope_freqs.weight does not fit heads of {head_dim} numbers; download it again"
            )
        return struct.unpack_from(f"<{head_dim // 2}f", stored.view, stored.start)
    kind = said.get("rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise UserError(f"{said.source} scales rotary positions by {kind!r}; known here are none and linear")
    return (said.get("rope.scaling.factor", 1.0),) * (head_dim // 2) if kind == "linear" else ()


def _activation(values: CheckedValues, key: str, default: str) -> Activation:
    """The activation function that `key` names."""
    return values.one_of(key, ACTIVATIONS, default)
