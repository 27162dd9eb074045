"""Sliding windows of attention against transformers: long texts, the KV cache, rewinds, the end of the context."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import saved, write_gguf
from model_folders import build, reconfigure, refusal
from reference_models import reference
from torch import Tensor

from core.engine.attention import CappedAttention, CausalAttention, SinkAttention
from core.engine.cache import KVCache
from core.engine.config import ModelConfig
from core.engine.model import Transformer, random_model
from core.engine.prefix import Prefix

WINDOW, LENGTH = 16, 211
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("mistral", {"sliding_window": WINDOW}),
    "qwen2": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}),
    "qwen2-late": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}),
    "qwen2-none": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3}),
    "qwen3": ("qwen3", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}),
}


def random_ids(length: int) -> Tensor:
    return torch.randint(0, 83, (2, length), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module", params=CASES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, Any]:
    case, changes = CASES[request.param]
    model, folder = reference(case, max_position_embeddings=256, **changes), tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return build(folder), model


def test_a_text_longer_than_the_window(both: tuple[Transformer, Any]) -> None:
    """Equal logits at every position, in one pass; the context is not cut to the window."""
    ours, model = both
    assert ours.config.context == 256
    with torch.inference_mode():
        assert (ours(random_ids(LENGTH)) - model(random_ids(LENGTH)).logits).abs().max() < 1e-4


@pytest.mark.parametrize("sizes", [[180, 1, 1, 9, 20], [1] * 40 + [171], [15, 1, 1, 17, 177]])
def test_reading_in_chunks(both: tuple[Transformer, Any], sizes: list[int]) -> None:
    """Through the cache, with chunks shorter, as long as and longer than the window."""
    ours, model = both
    ids, cache = random_ids(LENGTH), KVCache(ours.config, 2, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        got = torch.cat([ours(part, cache) for part in ids.split(sizes, dim=1)], 1)
        assert (got - model(ids).logits).abs().max() < 1e-4


def test_a_rewound_walk_and_its_copies(both: tuple[Transformer, Any]) -> None:
    """After a rewind to the middle of a window, other tokens follow; a copy for a batch continues alike."""
    ours, model = both
    first, other = random_ids(70)[:1], random_ids(60)[1:]
    walk = Prefix(ours)
    walk.append(first.tolist())
    walk.logits([69])
    walk.rewind(37)
    walk.append(other[:, 37:].tolist())
    ids = torch.cat((first[:, :37], other[:, 37:]), 1)
    with torch.inference_mode():
        want = model(ids).logits
    assert (walk.logits(range(60)) - want).abs().max() < 1e-4
    batch = walk.repeat(3)
    batch.append([[1], [2], [3]])
    with torch.inference_mode():
        want = model(torch.cat((ids.expand(3, -1), torch.tensor([[1], [2], [3]])), 1)).logits[:, -1]
    assert (batch.logits([60])[:, 0] - want).abs().max() < 1e-4


def test_information_travels_further_than_one_window() -> None:
    """A token changes logits up to blocks · (window - 1) positions later, and none beyond."""
    config = ModelConfig(
        vocab_size=31, embed_dim=16, context=64, blocks=3, heads=2, positions="rotary", norm="rms", windows=(5, 5, 5)
    )
    model, ids = random_model(config, seed=0), torch.arange(40).remainder(31)[None]
    changed = ids.clone()
    changed[0, 10] = 30
    with torch.inference_mode():
        differs = (model(ids) - model(changed)).abs().amax((0, 2)) > 0
    assert differs.nonzero().flatten().tolist() == list(range(10, 10 + 3 * 4 + 1))


def test_beyond_the_context_the_whole_window_of_tokens_is_read(both: tuple[Transformer, Any], tmp_path: Path) -> None:
    """The context slides as a whole; attention still slides within it."""
    _, model = both
    model.save_pretrained(tmp_path)
    reconfigure(tmp_path, max_position_embeddings=40)
    walk, ids = Prefix(build(tmp_path), batch=2), random_ids(60)
    walk.append(ids.tolist())
    got = walk.logits([38, 39, 40, 59])
    with torch.inference_mode():
        for row, end in enumerate((39, 40, 41, 60)):
            want = model(ids[:, max(0, end - 40) : end]).logits[:, -1]
            assert (got[:, row] - want).abs().max() < 1e-4


# The formula ---------------------------------------------------------------------------------------------------------


def by_hand(q: Tensor, k: Tensor, v: Tensor, window: int, cap: float = 0.0, sinks: Tensor | None = None) -> Tensor:
    """One query after the other, in float64."""
    rows, group = [], q.shape[1] // k.shape[1]
    for head in range(q.shape[1]):
        for n in range(q.shape[2]):
            at = k.shape[2] - q.shape[2] + n
            keys = slice(max(0, at - window + 1), at + 1)
            scores = 0.3 * k[0, head // group, keys].double() @ q[0, head, n].double()
            scores = cap * torch.tanh(scores / cap) if cap else scores
            every = scores if sinks is None else torch.cat((scores, sinks[head : head + 1].double()))
            weights = torch.softmax(every, 0)[: len(scores)]
            rows.append(weights @ v[0, head // group, keys].double())
    return torch.stack(rows).view(q.shape)


@pytest.mark.parametrize("window", [1, 4, 11, 100])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 11), (3, 11), (11, 11)])
@pytest.mark.parametrize("kind", ["plain", "capped", "sinks"])
def test_attention_equals_the_formula(kind: str, queries: int, keys: int, window: int) -> None:
    """With a scale of its own, windows, caps and sinks; the weights for lenses give the same outputs."""
    make = torch.Generator().manual_seed(0)
    q = 3 * torch.randn(1, 4, queries, 6, generator=make)
    k, v = 3 * torch.randn(2, 1, 2, keys, 6, generator=make)
    sinks = torch.randn(4, generator=make)
    attend, options = {
        "plain": (CausalAttention(0.3, window), {}),
        "capped": (CappedAttention(0.3, window, 2.5), {"cap": 2.5}),
        "sinks": (SinkAttention(0.3, window, 4), {"sinks": sinks}),
    }[kind]
    if isinstance(attend, SinkAttention):
        attend.sinks.data = sinks
    want = by_hand(q, k, v, window, **options)
    with torch.inference_mode():
        assert (attend(q, k, v) - want).abs().max() < 1e-5
        weights = attend.weights(q, k)
        assert (weights @ v.repeat_interleave(2, 1) - want).abs().max() < 1e-5
        only = torch.eye(keys, dtype=torch.bool)[keys - queries :]
        assert (attend.weights(q, k, only)[..., only].sum(-1) > 0).all()
        assert (attend.weights(q, k, only)[..., ~only] == 0).all()


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "windows"), [({}, (8, 8)), ({"pattern": 2}, (8, 0)), ({"pattern": [False, True]}, (0, 8))]
)
def test_windows_of_gguf_files(pattern: dict[str, Any], windows: tuple[int, ...], tmp_path: Path) -> None:
    """All layers, all but the last of each period, or those of a list."""
    model = saved(tmp_path, "Qwen2")
    says = {"attention.sliding_window": 8}
    says |= {f"attention.sliding_window_{key}": value for key, value in pattern.items()}
    write_gguf(tmp_path / "model.gguf", model, says=says)
    assert build(tmp_path / "model.gguf").config.windows == windows


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types has 1 kinds for 3 layers"),
        ({"layer_types": ["full_attention"] * 2 + ["chunked_attention"]}, "'chunked_attention'"),
        ({"layer_types": ["full_attention"] * 2 + [None]}, "layer_types has None"),
        ({"layer_types": ["full_attention"] * 2 + [["full_attention"]]}, "layer_types has ['full_attention']"),
        ({"layer_types": ["sliding_attention"] * 3}, "sliding_window is not set"),
        ({"use_sliding_window": True, "max_window_layers": 0, "sliding_window": -3}, "sliding_window is -3"),
    ],
)
def test_impossible_windows_are_refused(changes: dict[str, Any], part: str, tmp_path: Path) -> None:
    """In one line that names the file and the value."""
    reference("qwen2").save_pretrained(tmp_path)
    reconfigure(tmp_path, **{"layer_types": None} | changes)
    text = refusal(tmp_path)
    assert "config.json" in text
    assert part in text
