"""Gemma 3 (Kamath et al. 2025), the language model: five blocks with a sliding window to one without."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import gemma_layout, llama_layout
from core.loading.families.family import Family
from core.loading.families.layouts import one_more
from core.loading.families.rope_settings import read_layer_rope
from core.loading.families.window_settings import read_kinds, window_size, windows

CONTEXT, WINDOW, PERIOD = 131_072, 4096, 6
SIZES = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
GLOBAL_BASE, LOCAL_BASE = 1e6, 1e4
LAYOUTS = {
    **gemma_layout.LAYOUTS,
    "layers.#.self_attn.q_norm": one_more,
    "layers.#.self_attn.k_norm": one_more,
}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes; some files leave out sizes, which are then those of `SIZES`."""
    values.assume(**SIZES)
    blocks, period = values.count("num_hidden_layers"), values.integer("sliding_window_pattern", low=1, default=PERIOD)
    kinds = read_kinds(values, blocks, lambda block: (block + 1) % period != 0)
    head_dim, trained = values.get("head_dim", 256), values.integer("max_position_embeddings", low=1, default=CONTEXT)
    bases = {
        "full_attention": values.get("rope_theta", GLOBAL_BASE),
        "sliding_attention": values.get("rope_local_base_freq", LOCAL_BASE),
    }
    rope, local = (read_layer_rope(values, kind, head_dim, trained, base) for kind, base in bases.items())
    return gemma_layout.config(
        values,
        activation_key="hidden_activation",
        default_context=CONTEXT,
        rope=rope,
        block_ropes=tuple(local if slides else rope for slides in kinds),
        windows=windows(values, window_size(values, WINDOW), kinds),
        attention_scale=gemma_layout.attention_scale(values),
        logit_cap=gemma_layout.cap(values, "final_logit_softcapping", 0.0),
        qk_norm="head",
        output_norms=True,
    )


FAMILY = Family(
    model_type="gemma3_text",
    title="Gemma 3",
    prefix=llama_layout.PREFIX,
    names=gemma_layout.NAMES,
    config=config,
    layouts=LAYOUTS,
    without_effect=frozenset(("hidden_act", "_sliding_window_pattern")),
)
