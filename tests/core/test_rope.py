"""Rotary positions and their scalings against transformers, below and beyond the trained context."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_folders import build, reconfigure, refusal
from torch import Tensor

from core.engine.model import Transformer
from core.engine.prefix import Prefix
from core.engine.rope import Rope
from core.engine.rotary import Rotary, rotation

TRAINED = 24
"""Tokens of the trained context."""
SIZES = {
    "vocab_size": 83,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FACTORS = {"short_factor": [1.0, 1.1, 1.3, 1.5, 2.0, 2.5, 3.0, 4.0], "long_factor": [1.5, 2, 3, 4, 6, 9, 12, 16.0]}
SCALINGS: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": TRAINED},
    "yarn-all": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": TRAINED,
        "beta_fast": 4.0,
        "beta_slow": 0.5,
        "mscale": 0.7,
        "mscale_all_dim": 1.2,
        "truncate": False,
    },
    "yarn-attention": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": TRAINED,
        "attention_factor": 0.8,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": TRAINED,
    },
    "longrope": {"rope_type": "longrope", "original_max_position_embeddings": TRAINED, **FACTORS},
    "longrope-factor": {
        "rope_type": "longrope",
        "original_max_position_embeddings": TRAINED,
        "factor": 5.0,
        **FACTORS,
    },
    "longrope-attention": {
        "rope_type": "longrope",
        "original_max_position_embeddings": TRAINED,
        "attention_factor": 1.3,
        **FACTORS,
    },
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0},
}
LENGTHS = (TRAINED - 1, TRAINED, TRAINED + 1, 3 * TRAINED + 2)


def saved(folder: Path, scaling: dict[str, Any]) -> Any:
    """A Llama of transformers with this rotation; its trained context is `TRAINED` for dynamic scaling, else longer."""
    context = TRAINED if scaling["rope_type"] == "dynamic" else 4 * TRAINED
    rope = {"rope_theta": 500.0, **scaling}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, max_position_embeddings=context, rope_parameters=rope)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def random_ids(length: int) -> Tensor:
    return torch.randint(0, 83, (2, length), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def fresh_logits(model: Any, ids: Tensor) -> Tensor:
    """Logits of transformers, which keeps the frequencies of earlier, longer texts, in a new model."""
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    return model(ids, use_cache=False).logits


@pytest.fixture(scope="module", params=SCALINGS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    model = saved(folder, SCALINGS[request.param])
    return build(folder), model


@pytest.mark.parametrize("length", LENGTHS)
def test_a_whole_pass_equals_that_of_transformers(both: tuple[Transformer, Any], length: int) -> None:
    """At every position, below and beyond the trained context."""
    ours, model = both
    ids = random_ids(length)
    with torch.inference_mode():
        assert (ours(ids) - fresh_logits(model, ids)).abs().max() < 1e-4


@pytest.mark.parametrize("sizes", [[LENGTHS[-1]], [7, 20, 1, 30], [1] * 40])
def test_a_prefix_has_the_logits_of_a_whole_pass_over_it(both: tuple[Transformer, Any], sizes: Sequence[int]) -> None:
    """However it was read: at once, in pieces, token by token; also after it was rewound."""
    ours, model = both
    ids = random_ids(LENGTHS[-1])
    assert ours.config.context >= ids.shape[1]
    walk, length = Prefix(ours, batch=2), 0
    for size in sizes:
        walk.append(ids[:, length : length + size].tolist())
        length += size
        walk.logits([length - 1])
    for end in (length, TRAINED + 3, TRAINED + 2, TRAINED, 5):
        walk.rewind(end)
        want = fresh_logits(model, ids[:, :end])[:, -1]
        assert (walk.logits([end - 1])[:, 0] - want).abs().max() < 1e-4


def test_all_positions_of_a_prefix_can_be_asked_for_at_once(both: tuple[Transformer, Any]) -> None:
    """Each has the logits of its own prefix."""
    ours, model = both
    ids = random_ids(TRAINED + 4)
    walk = Prefix(ours, batch=2)
    walk.append(ids.tolist())
    got = walk.logits(range(ids.shape[1]))
    for position in (0, TRAINED - 1, TRAINED, TRAINED + 3):
        want = fresh_logits(model, ids[:, : position + 1])[:, -1]
        assert (got[:, position] - want).abs().max() < 1e-4


def test_a_part_of_a_head_turns_and_the_rest_stays() -> None:
    """As GPT-NeoX of transformers rotates."""
    from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding, apply_rotary_pos_emb

    config = transformers.GPTNeoXConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_theta": 700.0, "partial_rotary_factor": 0.25}
    )
    q, k = torch.randn(2, 1, 4, 30, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    angles = GPTNeoXRotaryEmbedding(config)(q, torch.arange(5, 35)[None])
    turn = rotation(Rope(base=700.0, size=4), 16)
    for got, want in zip((turn(q, 5), turn(k, 5)), apply_rotary_pos_emb(q, k, *angles), strict=True):
        assert (got - want).abs().max() < 1e-5


def test_transformers_llama_turns_whole_heads_whatever_share_the_file_names(tmp_path: Path) -> None:
    """`partial_rotary_factor` at the top of a config.json of a family that does not use it."""
    model = saved(tmp_path, SCALINGS["default"])
    reconfigure(tmp_path, partial_rotary_factor=0.5)
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path).eval()
    ids = random_ids(9)
    assert torch.equal(fresh_logits(again, ids), fresh_logits(model, ids))
    with torch.inference_mode():
        assert (build(tmp_path)(ids) - fresh_logits(again, ids)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("rope", "part"),
    [
        ({"rope_type": "spiral"}, "rope_type is 'spiral'"),
        ({"rope_type": "linear"}, "factor is missing"),
        ({"rope_type": "yarn", "factor": -2.0}, "must be positive"),
        ({"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}, "low < high"),
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}, "short_factor is a list of 1 values"),
        ({"rope_type": "default", "rope_theta": -5.0}, "must be positive"),
        ({"rope_type": "dynamic", "factor": "x"}, "factor"),
    ],
)
def test_impossible_rotations_are_refused(rope: dict[str, Any], part: str, tmp_path: Path) -> None:
    """In one line that names the file and the value."""
    saved(tmp_path, SCALINGS["default"])
    reconfigure(tmp_path, rope_parameters=rope)
    text = refusal(tmp_path)
    assert "config.json" in text
    assert part in text


def test_a_missing_context_is_the_default_of_the_family(tmp_path: Path) -> None:
    """2,048 for Llama, as in transformers' own config class."""
    saved(tmp_path, SCALINGS["default"])
    import json

    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "max_position_embeddings"})
    )
    assert build(tmp_path).config.context == transformers.LlamaConfig().max_position_embeddings


def test_blocks_of_equal_rotation_share_one_table(both: tuple[Transformer, Any]) -> None:
    """So the angles of a model exist once."""
    ours, _ = both
    first, second = (block.attention.rotary for block in ours.blocks)
    assert isinstance(first, Rotary)
    assert first is second
