"""SmolLM3 (Bakouch et al. 2025): Llama whose every fourth block rotates nothing."""

from collections.abc import Mapping

from core.engine.config import ModelConfig
from core.engine.rope import Rope
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
from core.loading.families import llama_layout
from core.loading.families.family import Family
from core.loading.families.layouts import pairs_apart
from core.loading.families.rope_settings import read_context, read_gguf_rope, read_rope
from core.loading.families.window_settings import read_kinds, window_size, windows

CONTEXT, INTERVAL = 32_768, 4


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    rotates = _rotating(values)
    trained, _unused = read_context(values, CONTEXT)
    head_dim = values.get("head_dim", 0) or values.count("hidden_size") // values.count("num_attention_heads")
    rope = read_rope(values, head_dim, trained, base=2e6)
    size, slides = window_size(values, 0), values.get("use_sliding_window", False)
    kinds = read_kinds(values, len(rotates), lambda block: slides and size != 0 and not rotates[block])
    return llama_layout.config(
        values,
        default_context=CONTEXT,
        default_tied=True,
        rope=rope,
        block_ropes=_ropes(rope, rotates),
        windows=windows(values, size, kinds),
    )


def _rotating(values: CheckedValues) -> tuple[bool, ...]:
    """Whether each block rotates queries and keys; `no_rope_layers` in fact has a 1 for those that do."""
    blocks = values.integer("num_hidden_layers", low=1, below=10_000)
    interval = values.integer("no_rope_layer_interval", low=1, default=INTERVAL)
    if values.values.get("no_rope_layers") is None:
        return tuple((block + 1) % interval != 0 for block in range(blocks))
    layers = values.items("no_rope_layers")
    if len(layers) != blocks or not all(layer in (0, 1) for layer in layers):
        raise values.error(
            _("no_rope_layers has {count} values (allowed: 0 or 1 for each of {blocks} layers)").format(
                count=len(layers), blocks=blocks
            )
        )
    return tuple(map(bool, layers))


def _ropes(rope: Rope, rotates: tuple[bool, ...]) -> tuple[Rope | None, ...]:
    return tuple(rope if each else None for each in rotates)


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes; the format has no key for the blocks that rotate nothing."""
    blocks = values.integer("block_count", low=1, below=10_000)
    head_dim = values.get("attention.key_length", 0)
    head_dim = head_dim or values.count("embedding_length") // values.count("attention.head_count")
    rope = read_gguf_rope(values, tensors, head_dim)
    rotates = tuple((block + 1) % INTERVAL != 0 for block in range(blocks))
    return llama_layout.gguf_config(values, tensors, vocab_size, rope=rope, block_ropes=_ropes(rope, rotates))


FAMILY = Family(
    model_type="smollm3",
    title="SmolLM3",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=gguf_config,
    gguf_layouts={"blk.#.attn_q": pairs_apart, "blk.#.attn_k": pairs_apart},
)
