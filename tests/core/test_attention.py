"""Causal attention against its formula in float64: equal lengths, one query, and a chunk of the last queries."""

import math

import pytest
import torch
from torch import Tensor

from core.engine.attention import causal_attention


def formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √c + mask) v with the mask written out: query i is at position T - t + i."""
    queries, keys = q.shape[2], k.shape[2]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    positions = torch.arange(keys - queries, keys)[:, None]
    later = torch.arange(keys)[None, :] > positions
    weights = torch.exp(scores - scores.amax(-1, keepdim=True)).masked_fill(later, 0.0)
    return weights / weights.sum(-1, keepdim=True) @ v


def random_qkv(queries: int, keys: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, keys, 4)  # [B, h, T, c]
    q, k, v = (2 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return q[:, :, keys - queries :], k, v


SIZES = [(1, 1), (2, 2), (9, 9), (1, 2), (1, 9), (2, 3), (2, 9), (8, 9), (5, 300), (256, 300)]


@pytest.mark.parametrize(("queries", "keys"), SIZES)
def test_attention_equals_its_formula(queries: int, keys: int) -> None:
    """In float64 within rounding, in float32 within 1e-5."""
    q, k, v = random_qkv(queries, keys)
    want = formula(q, k, v)
    assert causal_attention(q, k, v).shape == (2, 3, queries, 4)
    assert (causal_attention(q, k, v) - want).abs().max() < 1e-12
    assert (causal_attention(q.float(), k.float(), v.float()).double() - want).abs().max() < 1e-5


@pytest.mark.parametrize(("queries", "keys"), SIZES)
def test_a_chunk_of_queries_equals_the_last_rows_of_the_whole(queries: int, keys: int) -> None:
    """The last t queries over all T keys give the last t rows of attention over T queries."""
    q, k, v = random_qkv(keys, keys)
    whole = causal_attention(q, k, v)[:, :, keys - queries :]
    assert (causal_attention(q[:, :, keys - queries :], k, v) - whole).abs().max() < 1e-12


def test_one_query_sees_all_keys() -> None:
    """With equal scores a single query averages all values, not only the first."""
    k, v = torch.zeros(1, 1, 4, 1), torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 4, 1)
    assert causal_attention(torch.ones(1, 1, 1, 1), k, v).item() == pytest.approx(3.0)


def test_equal_scores_average_the_past_and_ignore_the_future() -> None:
    """With equal scores, row i is the mean of values 0 to i (article: averaging the past)."""
    v = torch.tensor([1.0, 2.0, 6.0, 7.0]).reshape(1, 1, 4, 1)
    got = causal_attention(torch.zeros(1, 1, 4, 1), torch.zeros(1, 1, 4, 1), v).flatten()
    assert got.tolist() == pytest.approx([1.0, 1.5, 3.0, 4.0])
    chunk = causal_attention(torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 4, 1), v).flatten()
    assert chunk.tolist() == pytest.approx([3.0, 4.0])
