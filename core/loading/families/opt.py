"""OPT (Zhang et al. 2022): learned positions with an offset of two rows, ReLU; OPT-350m has norms after each sum.

llama.cpp does not have it, so there are no GGUF files.
"""

from core.engine.config import Bias, ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families.family import ACTIVATION_NAMES, Family, KeyMap, model_config
from core.loading.families.layouts import without_offset

NAMES: KeyMap = {
    "embed": ("decoder.embed_tokens",),
    "position": ("decoder.embed_positions",),
    "project_in": ("decoder.project_in",),
    "project_out": ("decoder.project_out",),
    "norm": ("decoder.final_layer_norm",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("decoder.layers.#.self_attn_layer_norm",),
    "blocks.#.attention.qkv": tuple(f"decoder.layers.#.self_attn.{part}_proj" for part in "qkv"),
    "blocks.#.attention.out": ("decoder.layers.#.self_attn.out_proj",),
    "blocks.#.norm2": ("decoder.layers.#.final_layer_norm",),
    "blocks.#.feed_forward.up": ("decoder.layers.#.fc1",),
    "blocks.#.feed_forward.down": ("decoder.layers.#.fc2",),
}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    values.require("layer_norm_elementwise_affine", True)
    width, before = values.count("hidden_size"), values.get("do_layer_norm_before", True)
    embed_size = values.get("word_embed_proj_dim", width)
    biases: tuple[Bias, ...] = ("qkv", "out", "mlp") if values.get("enable_bias", True) else ()
    return model_config(
        values,
        vocab_size=values.count("vocab_size"),
        embed_dim=width,
        embed_size=None if embed_size == width else embed_size,
        context=values.integer("max_position_embeddings", low=1, default=2048),
        blocks=values.count("num_hidden_layers"),
        heads=values.count("num_attention_heads"),
        positions="learned",
        norm="layer",
        pre_norm=before,
        layout="sequential" if before else "post_norm",
        final_norm=not values.get("_remove_final_layer_norm", False) and before,
        mlp_size=values.count("ffn_dim"),
        activation=values.one_of("activation_function", ACTIVATION_NAMES, "relu"),
        tied=values.get("tie_word_embeddings", True),
        biases=biases,
    )


FAMILY = Family(
    model_type="opt",
    title="OPT",
    prefix="model.",
    names=NAMES,
    config=config,
    without_effect=frozenset(["init_std"]),
    layouts={"decoder.embed_positions": without_offset},
)
