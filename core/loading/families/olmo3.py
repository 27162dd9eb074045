"""OLMo 3 (OLMo Team 2025): OLMo 2 with a sliding window and an unscaled rotation in three of four blocks."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import gemma_layout, llama_layout, olmo2
from core.loading.families.family import Family
from core.loading.families.rope_settings import read_layer_rope
from core.loading.families.window_settings import read_kinds, window_size, windows

WINDOW, PERIOD, BASE = 4096, 4, 500_000.0


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    kinds = read_kinds(values, values.count("num_hidden_layers"), lambda block: (block + 1) % PERIOD != 0)
    head_dim = values.get("head_dim", 0) or values.count("hidden_size") // values.count("num_attention_heads")
    trained = values.integer("max_position_embeddings", low=1, default=2048)
    rope = read_layer_rope(values, "full_attention", head_dim, trained, values.get("rope_theta", BASE))
    local = read_layer_rope(values, "sliding_attention", head_dim, trained, BASE)
    return llama_layout.config(
        values,
        default_eps=1e-5,
        rope=rope,
        block_ropes=tuple(local if slides else rope for slides in kinds),
        windows=windows(values, window_size(values, WINDOW), kinds),
        **olmo2.SHARED,
    )


FAMILY = Family(
    model_type="olmo3",
    title="OLMo 3",
    prefix=llama_layout.PREFIX,
    names=gemma_layout.NAMES,
    config=config,
)
