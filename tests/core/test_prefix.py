"""Logits with a KV cache equal the whole-window forward at every position, in any order of reading and rewinding."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.engine import device, prefix
from core.engine.config import ModelConfig
from core.engine.model import Transformer, random_model
from core.engine.prefix import Prefix

V = 97
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "model1": ("model1", {"embed_dim": 12, "context": 5}),
    "model1-default": ("model1", {}),
    "model2": ("model2", {"embed_dim": 12, "context": 5}),
    "model2-T1": ("model2", {"embed_dim": 3, "context": 1}),
    "model3": ("model3", {"embed_dim": 12, "context": 5}),
    "model3-T1": ("model3", {"embed_dim": 12, "context": 1}),
    "model3-wide": ("model3", {"embed_dim": 12, "context": 5, "heads": 3, "blocks": 2}),
    "model4": ("model4", {"embed_dim": 12, "context": 5, "blocks": 2}),
    "model4-default": ("model4", {}),
    "model5": ("model5", {"embed_dim": 12, "context": 5, "blocks": 2, "heads": 3}),
    "model5-T2": ("model5", {"embed_dim": 8, "context": 2, "blocks": 3, "heads": 2}),
    "model5-thin": ("model5", {"embed_dim": 12, "context": 7, "blocks": 1, "heads": 12}),
    "model5-default": ("model5", {}),
    "model6": ("model6", {"embed_dim": 24, "context": 5, "blocks": 2, "heads": 6}),
    "model6-T2": ("model6", {"embed_dim": 8, "context": 2, "blocks": 3, "heads": 2}),
}
USABLE = [info.name for info in device.devices() if not info.problem]
Oracle = Callable[[Transformer, Tensor], Tensor]


@pytest.fixture(scope="module", params=SHAPES)
def model(
    request: pytest.FixtureRequest,
    rung_config: Callable[..., ModelConfig],
    stirred: Callable[[ModelConfig], Transformer],
) -> Transformer:
    name, changes = SHAPES[request.param]
    return stirred(rung_config(name, **changes))


@pytest.fixture(params=[1, 2, 3, 4, 7, 256])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(prefix, "CHUNK", request.param)
    return int(request.param)


def random_ids(count: int, seed: int, batch: int = 1) -> Tensor:
    return torch.randint(0, V, (batch, count), generator=torch.Generator().manual_seed(seed))


def past_the_window(model: Transformer) -> int:
    return 3 * model.config.context + 4


def started(model: Transformer, ids: Tensor) -> Prefix:
    started_prefix = Prefix(model, batch=ids.shape[0])
    started_prefix.append(ids.tolist())
    return started_prefix


def assert_close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() < 1e-5


# Reading ------------------------------------------------------------------------------------------------------------


def test_all_positions_at_once(model: Transformer, chunk: int, oracle: Oracle) -> None:
    """Below the context T, at T and far past it, in chunks of any size."""
    ids = random_ids(past_the_window(model), seed=1)
    assert_close(started(model, ids).logits(range(ids.shape[1])), oracle(model, ids))


def test_token_by_token(model: Transformer, oracle: Oracle) -> None:
    """One id is appended and read at a time, as in a walk."""
    ids = random_ids(past_the_window(model), seed=2)
    walk = Prefix(model)
    each = []
    for column in ids.T:
        walk.append([column.tolist()])
        each.append(walk.logits([walk.length - 1])[:, 0])
    assert_close(torch.stack(each, dim=1), oracle(model, ids))


@pytest.mark.parametrize("sizes", [(3, 1, 4, 1, 5), (4, 1, 1), (5, 1), (6, 2), (1, 12)])
def test_piece_by_piece(model: Transformer, sizes: tuple[int, ...], oracle: Oracle) -> None:
    """Several ids are appended at a time, in pieces that end below T, at T and past it."""
    ids = random_ids(sum(sizes), seed=3)
    walk, start = Prefix(model), 0
    want = oracle(model, ids)
    for size in sizes:
        walk.append(ids[:, start : start + size].tolist())
        start += size
        assert_close(walk.logits([start - 1]), want[:, start - 1 : start])
    assert_close(walk.logits(range(start)), want)


def test_positions_in_any_order_and_twice(model: Transformer, oracle: Oracle) -> None:
    """The last position first, then backwards, then some of them again."""
    ids = random_ids(past_the_window(model), seed=4)
    walk, want, last = started(model, ids), oracle(model, ids), ids.shape[1] - 1
    for positions in ([last], [0], list(range(last, -1, -1)), [last, 0, last, 0]):
        assert_close(walk.logits(positions), want[:, positions])


def test_reading_pauses_between_chunks_and_counts_up(model: Transformer, chunk: int) -> None:
    """Progress rises to the number of tokens asked for; known positions yield no progress."""
    ids = random_ids(past_the_window(model), seed=5)
    walk = started(model, ids)
    context = model.config.context
    done = list(walk.read(range(context)))
    assert done == [*range(chunk, context, chunk), context]
    assert [walk.knows(p) for p in range(ids.shape[1])] == [True] * context + [False] * (ids.shape[1] - context)
    late = list(walk.read(range(ids.shape[1])))
    assert late == sorted(set(late))
    assert late[-1] == ids.shape[1]
    assert list(walk.read(range(ids.shape[1]))) == []


def test_reading_can_be_stopped_and_resumed(
    model: Transformer, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reader is closed at its first chunk, the logits are still right."""
    monkeypatch.setattr(prefix, "CHUNK", 2)
    ids = random_ids(past_the_window(model), seed=6)
    walk = started(model, ids)
    for positions in (range(ids.shape[1]), range(model.config.context, ids.shape[1])):
        reader = walk.read(positions)
        next(reader)
        reader.close()
    assert_close(walk.logits(range(ids.shape[1])), oracle(model, ids))


@pytest.fixture
def passes(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the ids that go through the model during a test."""
    seen: list[tuple[int, ...]] = []
    hidden = model.hidden

    def watched(ids: Tensor, *rest: object) -> Tensor:
        seen.append(tuple(ids.shape))
        return hidden(ids, *rest)

    monkeypatch.setattr(model, "hidden", watched)
    yield seen
    monkeypatch.undo()


def test_a_step_costs_one_token_below_the_context(model: Transformer, passes: list[tuple[int, ...]]) -> None:
    """After a prompt is read, only the next token goes through the model; known positions need no pass."""
    context = model.config.context
    walk = started(model, random_ids(context, seed=7))
    walk.logits([max(0, context - 2)])
    before = len(passes)
    walk.logits([context - 1])
    assert passes[before:] == ([(1, 1)] if context > 1 else [])
    walk.logits(range(context))
    assert len(passes) == before + (context > 1)


def test_past_the_context_only_tokens_that_matter_are_read(model: Transformer, passes: list[tuple[int, ...]]) -> None:
    """One token without attention, one window with it; positions before are not read."""
    walk = started(model, random_ids(past_the_window(model), seed=8))
    walk.logits([walk.length - 1])
    assert passes == [(1, model.config.context if model.config.blocks else 1)]


# Rewinding ----------------------------------------------------------------------------------------------------------


def rewinds(model: Transformer) -> list[tuple[int, int]]:
    """(length read, length kept): to 0, the middle, T and past the end, each also past the context."""
    context, late = model.config.context, past_the_window(model)
    lengths = {0, 1, context // 2, context - 1, context, context + 1, late - 1, late, late + 5}
    return [(read, kept) for read in (context, late) for kept in sorted(lengths)]


@pytest.mark.parametrize("everything", [True, False], ids=["all-read", "last-read"])
def test_rewind_then_other_ids(model: Transformer, everything: bool, oracle: Oracle) -> None:
    """Rewinding to any length leaves nothing of the dropped tail."""
    for read, kept in rewinds(model):
        ids, others = random_ids(read, seed=9), random_ids(model.config.context + 3, seed=10)
        walk = started(model, ids)
        walk.logits(range(read) if everything else [read - 1])
        walk.rewind(kept)
        assert walk.length == min(read, kept)
        walk.append(others.tolist())
        now = torch.cat((ids[:, :kept], others), dim=1)
        assert walk.length == now.shape[1]
        want = oracle(model, now)
        assert_close(walk.logits([walk.length - 1]), want[:, -1:])
        assert_close(walk.logits(range(walk.length)), want)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(0, V - 1), min_size=1, max_size=9)),
        st.tuples(st.just("rewind"), st.integers(0, 24)),
        st.tuples(st.just("read"), st.lists(st.integers(0, 23), min_size=1, max_size=4)),
        st.tuples(st.just("begin"), st.lists(st.integers(0, 23), min_size=1, max_size=4)),
    ),
    max_size=12,
)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(
    shape=st.sampled_from(["model1", "model2", "model3", "model4", "model5", "model5-T2", "model6", "model6-T2"]),
    size=st.sampled_from([1, 2, 3, 256]),
    operations=OPERATIONS,
)
def test_any_order_of_appending_rewinding_and_reading(
    *,
    shape: str,
    size: int,
    operations: list[tuple[str, list[int] | int]],
    rung_config: Callable[..., ModelConfig],
    stirred: Callable[[ModelConfig], Transformer],
    oracle: Oracle,
) -> None:
    """Positions that are read have the oracle's logits at any time, and all positions in the end."""
    name, changes = SHAPES[shape]
    model = stirred(rung_config(name, **changes))
    walk, ids = Prefix(model), list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix, "CHUNK", size)
        for kind, value in operations:
            if isinstance(value, int):
                walk.rewind(value)
                del ids[value:]
            elif kind == "append":
                walk.append([value])
                ids += value
            elif positions := [position for position in value if position < len(ids)]:
                if kind == "begin":
                    next(walk.read(positions), None)
                else:
                    assert_close(walk.logits(positions), oracle(model, torch.tensor([ids]))[:, positions])
            assert walk.length == len(ids)
        if ids:
            assert_close(walk.logits(range(len(ids))), oracle(model, torch.tensor([ids])))


# Batches ------------------------------------------------------------------------------------------------------------


def test_a_batch_equals_its_rows(model: Transformer, chunk: int, oracle: Oracle) -> None:
    """B different sequences that are read together have the logits of each alone, [B, T] -> [B, T, V]."""
    ids = random_ids(past_the_window(model), seed=11, batch=3)
    walk = started(model, ids)
    got = walk.logits(range(ids.shape[1]))
    assert got.shape == (3, ids.shape[1], V)
    assert_close(got, oracle(model, ids))


@pytest.mark.parametrize("where", ["below", "at", "beyond"])
def test_copies_continue_independently(model: Transformer, where: str, oracle: Oracle) -> None:
    """Rows repeated from one prefix get their own ids, equal single runs, and leave the original unchanged."""
    context = model.config.context
    length = {"below": max(1, context - 2), "at": context, "beyond": context + 3}[where]
    ids, more = random_ids(length, seed=12), random_ids(context + 3, seed=13, batch=4)
    one = started(model, ids)
    one.logits([length - 1])
    rows = one.repeat(4)
    for column in more.T:
        rows.append([[id] for id in column.tolist()])
        rows.logits([rows.length - 1])
    assert_close(rows.logits(range(rows.length)), oracle(model, torch.cat((ids.repeat(4, 1), more), dim=1)))
    assert one.length == length
    one.append(more[:1, :2].tolist())
    assert_close(one.logits(range(one.length)), oracle(model, torch.cat((ids, more[:1, :2]), dim=1)))


# Devices and number formats -----------------------------------------------------------------------------------------


def whole_windows(model: Transformer, ids: Sequence[int]) -> Tensor:
    """The oracle in float64 on the CPU, [T, V]; `model` is in float64 there."""
    context = model.config.context
    each = [model(torch.tensor([ids[max(0, end - context) : end]]))[0, -1] for end in range(1, len(ids) + 1)]
    return torch.stack(each)


@pytest.mark.parametrize("dtype", device.DTYPES)
@pytest.mark.parametrize("where", USABLE)
@pytest.mark.parametrize("name", ["model1", "model2", "model3", "model4", "model5", "model6"])
def test_every_device_and_number_format(
    where: str, dtype: str, name: str, rung_config: Callable[..., ModelConfig]
) -> None:
    """Compared with float64 on the CPU, with the weights rounded to the same format.

    fp32 is held to 1e-5. A 16-bit format stores each state and logit with an error of half its epsilon, and a rung
    rounds a few times on the way: four epsilons of the largest logit are allowed.
    """
    config = rung_config(name, **SHAPES[name][1])
    kind = device.dtype(dtype, device.resolve(where))
    fast = random_model(config, seed=0).to(device.resolve(where), kind)
    exact = random_model(config, seed=0).to(kind).double()
    ids = random_ids(past_the_window(fast), seed=14)
    got = started(fast, ids).logits(range(ids.shape[1]))[0]
    assert got.dtype == kind
    want = whole_windows(exact, ids[0].tolist())
    allowed = 1e-5 if dtype == "fp32" else 4 * torch.finfo(kind).eps * want.abs().max().item()
    assert (got.cpu().double() - want).abs().max().item() < allowed
