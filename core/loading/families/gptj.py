"""GPT-J (Wang and Komatsuzaki 2021): attention and MLP read one norm; rotary positions on a part of each head.

llama.cpp cannot run it, so there are no GGUF files.
"""

from core.engine.config import ModelConfig
from core.engine.rope import Rope
from core.formats.checked import CheckedValues
from core.loading.families.family import ACTIVATION_NAMES, Family, KeyMap, model_config
from core.loading.families.layouts import pairs_apart

NAMES: KeyMap = {
    "embed": ("wte",),
    "norm": ("ln_f",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("h.#.ln_1",),
    "blocks.#.attention.qkv": tuple(f"h.#.attn.{part}_proj" for part in "qkv"),
    "blocks.#.attention.out": ("h.#.attn.out_proj",),
    "blocks.#.feed_forward.up": ("h.#.mlp.fc_in",),
    "blocks.#.feed_forward.down": ("h.#.mlp.fc_out",),
}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    values.require("rotary", True)
    values.require("scale_attn_weights", True)
    values.require("tie_word_embeddings", False)  # its unembedding has a bias
    return model_config(
        values,
        vocab_size=values.count("vocab_size"),
        embed_dim=values.count("n_embd"),
        context=values.integer("n_positions", low=1, default=2048),
        blocks=values.count("n_layer"),
        heads=values.count("n_head"),
        positions="rotary",
        rope=Rope(size=values.integer("rotary_dim", low=2, default=64)),
        norm="layer",
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        layout="parallel_one_norm",
        mlp_size=values.get("n_inner", 0) or None,
        activation=values.one_of("activation_function", ACTIVATION_NAMES, "gelu_new"),
        biases=("mlp", "head"),
    )


FAMILY = Family(
    model_type="gptj",
    title="GPT-J",
    prefix="transformer.",
    names=NAMES,
    config=config,
    layouts={"h.#.attn.q_proj": pairs_apart, "h.#.attn.k_proj": pairs_apart},
)
