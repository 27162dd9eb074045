"""Compiled code says what the stack says, whoever computes it, and steps aside where somebody looks."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from reference_models import reference
from test_packed import TEXTS
from torch import Tensor

from core.activations.trace import recording
from core.engine.cache import KVCache
from core.engine.model import Transformer
from core.engine.packed import compiled, decode, kernels
from core.engine.packed.compiled import ORDERS, Matrix, Order
from core.engine.packed.decode import CompiledTransformer, Stack
from core.engine.packed.packed import GROUP, Int4Linear, Int8Embedding, Int8Linear, int4, int8, matrix
from core.loading import description, models, weights
from core.loading.choice import ModelChoice

LLAMA = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24}
CASES = {
    "gpt2": {"n_embd": 64, "n_inner": 128, "n_head": 4},
    "gpt2-untied-relu": {"n_embd": 64, "n_inner": 96, "n_head": 2},
    "llama": LLAMA | {"head_dim": 16},
    "llama-one-kv-head-tied": LLAMA | {"num_key_value_heads": 1, "head_dim": 16},
    "llama-biases": LLAMA | {"head_dim": 32},
    "llama-scaled": LLAMA | {"num_key_value_heads": 4, "head_dim": 16},
    "mistral": LLAMA | {"head_dim": 8},
    "qwen2": LLAMA | {"head_dim": 16},
    "qwen3": LLAMA | {"num_key_value_heads": 1, "head_dim": 16},
}
"""Those of other families in sizes that the kernels take."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def built(case: str, bits: int, folder: Path) -> CompiledTransformer:
    reference(case, **CASES[case]).save_pretrained(folder)
    model = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32, bits)
    assert isinstance(model, CompiledTransformer)
    return model


def ids(count: int = 20) -> list[int]:
    return torch.randint(0, 83, (count,), generator=torch.Generator().manual_seed(3)).tolist()


@torch.inference_mode()
def one_by_one(model: CompiledTransformer, ids: list[int], cache: KVCache | None = None) -> Tensor:
    """Logits after each token, float32."""
    cache = KVCache(model.config, 1, model.device, model.dtype) if cache is None else cache
    return torch.cat([model.step(torch.tensor([[id]]), cache)[1][0] for id in ids])


def unpacked(model: CompiledTransformer) -> Transformer:
    """The stack in float32 on the numbers that the packed ones stand for."""
    whole = Transformer(model.config).requires_grad_(False)
    for name, parameter in whole.named_parameters():
        module, _, field = name.rpartition(".")
        there = model.get_submodule(module)
        if isinstance(there, Int4Linear | Int8Linear | Int8Embedding):
            parameter.copy_(exactly(there) if field == "weight" else there.shift.bias)
        else:
            parameter.copy_(there.get_parameter(field))
    return whole


def exactly(module: Int4Linear | Int8Linear | Int8Embedding) -> Tensor:
    """The matrix that a packed one stands for, which `packed.matrix` rounds where it has 4 bits."""
    if not isinstance(module, Int4Linear):
        return matrix(module)
    order, (groups, rows, _) = compiled.order(), module.scales.shape
    assert order
    bytes_ = module.levels.view(-1, groups * GROUP, order.half).transpose(1, 2)
    levels = torch.empty(len(bytes_), 2 * order.half, groups * GROUP)
    levels[:, :: order.near][:, : order.half], levels[:, order.far :: order.near][:, : order.half] = (
        bytes_ & 15,
        bytes_ >> 4,
    )
    scale, zero = module.scales.float().transpose(0, 1)[..., None, :].unbind(-1)
    return ((levels.view(rows, groups, GROUP) - 8) * scale + zero).flatten(1)


def off(got: Tensor, want: Tensor) -> float:
    """Root mean square of the difference, as a share of what is wanted."""
    return ((got - want).square().mean() / want.square().mean()).sqrt().item()


# The stack is the oracle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("case", CASES)
def test_a_token_at_a_time_is_the_stack(case: str, bits: int, tmp_path: Path) -> None:
    """Of every family, in 8 and 4 bits, and both are what float32 makes of the same numbers."""
    model = built(case, bits, tmp_path)
    assert model.fast
    got = one_by_one(model, ids())
    with torch.inference_mode():
        want = unpacked(model)(torch.tensor([ids()]))[0]
        prompt = model(torch.tensor([ids()]))[0]
    model.fast = None
    for each in (got, prompt, one_by_one(model, ids())):
        assert off(each, want) < 0.001
    assert off(got, prompt) < 0.001


def test_any_number_of_threads_computes_the_same(tmp_path: Path) -> None:
    """To the last bit, and with more threads than there are cores."""
    model = built("llama", 4, tmp_path)
    torch.set_num_threads(1)
    alone = one_by_one(model, ids())
    for count in (2, 5):
        torch.set_num_threads(count)
        for _ in range(5):
            assert torch.equal(one_by_one(model, ids()), alone)


def test_a_cache_that_was_rewound_and_one_that_both_ways_filled(tmp_path: Path) -> None:
    """They are one and the same cache; another between does no harm."""
    model = built("qwen3", 8, tmp_path)
    cache = KVCache(model.config, 1, model.device, model.dtype)
    want = one_by_one(model, ids(), cache)
    for length in (7, 0):
        cache.rewind(length)
        one_by_one(model, ids(3))
        assert torch.equal(one_by_one(model, ids()[length:], cache), want[length:])
    cache.rewind(3)
    with torch.inference_mode():
        model(torch.tensor([ids()[3:12]]), cache)
    assert off(one_by_one(model, ids()[12:], cache), want[12:]) < 0.001
    copy = cache.first(12)
    assert torch.equal(one_by_one(model, ids()[12:], copy), one_by_one(model, ids()[12:], cache.first(12)))


@torch.inference_mode()
def test_smollm2_says_nearly_the_same_a_token_at_a_time() -> None:
    """KL from float32 over all positions of a few texts, in nats; and greedy tokens."""
    whole = models.load_model(ModelChoice(name="smollm2", device="cpu", dtype="fp32"))
    prompts = [whole.tokenizer.encode(text) for text in TEXTS]
    want = torch.cat([whole.transformer(torch.tensor([prompt]))[0] for prompt in prompts]).log_softmax(-1)
    for dtype, most in (("int4", 0.002), ("int8", 0.007)):
        packed = models.load_model(ModelChoice(name="smollm2", device="cpu", dtype=dtype)).transformer
        assert isinstance(packed, CompiledTransformer)
        assert packed.fast
        got = torch.cat([one_by_one(packed, prompt) for prompt in prompts]).log_softmax(-1)
        assert (want.exp() * (want - got)).sum(-1).mean() < most
        assert (want.argmax(-1) == got.argmax(-1)).float().mean() > 0.93


# Somebody looks ------------------------------------------------------------------------------------------------------


def test_hooks_see_every_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast way is not taken while anything is hooked anywhere, and taken again after it."""
    model, taken = built("llama", 4, tmp_path), []
    monkeypatch.setattr(Stack, "step", lambda *_: taken.append(1) or (torch.zeros(1, 1, 64), torch.zeros(1, 1, 83)))
    for name, module in model.named_modules():
        if name:
            for hook in (module.register_forward_hook, module.register_forward_pre_hook):
                handle = hook(lambda *_: None)
                one_by_one(model, [1])
                handle.remove()
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    one_by_one(model, [1])
    handle.remove()
    with recording(model, ["blocks.1.attention.attend"]) as trace:
        one_by_one(model, [1])
    assert len(trace.outputs) == 1
    assert not taken
    one_by_one(model, [1, 2])
    assert len(taken) == 2


@torch.inference_mode()
def test_only_one_token_of_one_sequence_with_a_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, several tokens and a pass without a cache go through the stack."""
    model = built("llama", 8, tmp_path)
    monkeypatch.setattr(Stack, "step", lambda *_: pytest.fail("the fast way was taken"))
    assert model(torch.tensor([[1]])).shape == (1, 1, 83)
    for batch, count in ((2, 1), (1, 2)):
        cache = KVCache(model.config, batch, model.device, model.dtype)
        states, logits = model.step(torch.ones(batch, count, dtype=torch.long), cache)
        assert states.shape == (batch, count, 64)
        assert logits.shape == (batch, count, 83)
        assert cache.length == count


def test_without_a_compiler_all_goes_through_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once, and nothing else changes."""
    monkeypatch.setattr(compiled, "available", lambda: False)
    model = built("llama", 4, tmp_path)
    monkeypatch.setattr(compiled, "run", lambda *_: pytest.fail("there is nothing to run"))
    assert model.fast is None
    with torch.inference_mode():
        want = unpacked(model)(torch.tensor([ids()]))[0]
    assert off(one_by_one(model, ids()), want) < 0.05


def test_a_compiler_that_fails_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises."""
    compiled.available.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "kernels", lambda: 1 / 0)
            assert not compiled.available()
    finally:
        compiled.available.cache_clear()
    assert compiled.available()


@pytest.mark.parametrize("sizes", [{"hidden_size": 48}, {"intermediate_size": 80}])
def test_sizes_that_the_kernels_do_not_take(sizes: dict[str, int], tmp_path: Path) -> None:
    reference("llama", **CASES["llama"] | sizes).save_pretrained(tmp_path)
    model = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, 8)
    assert isinstance(model, CompiledTransformer)
    assert model.fast is None
    assert one_by_one(model, ids()).isfinite().all()


# Products ------------------------------------------------------------------------------------------------------------


def random(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(33, 32), (83, 96), (128, 1536)])
def test_a_product_is_the_product(shape: tuple[int, int], biased: bool) -> None:
    """Of any number of rows, to within the 15 bits of the activations; nothing gives nothing."""
    levels, scale = int8(random(*shape))
    bias = torch.arange(shape[0]).bfloat16() if biased else None
    packed, x = Int8Linear(levels, scale, bias).as_matrix(), random(1, shape[1], 1).bfloat16()
    want = x.float() @ (levels * scale.float()[:, None]).T + (0 if bias is None else bias.float())
    assert (compiled.Product(packed)(x) - want).abs().max() < 1e-4 * want.abs().max()
    assert torch.equal(compiled.Product(packed)(0 * x)[0], torch.zeros(shape[0]) if bias is None else bias.float())


def quantised(x: Tensor) -> tuple[np.ndarray, Tensor]:
    """A task that knows where the levels of `x` are, and these."""
    task = np.zeros(1, kernels.TASK)
    kept = compiled.levels(task, "x", len(x))
    _quantise(x.data_ptr(), len(x), task)
    return task, kept


@njit
def _quantise(x, count, tasks):  # type: ignore[no-untyped-def]
    kernels._quantise(x, count, tasks[0].x, 0)


@njit
def _rows8(rows8, address, tasks, groups, made):  # type: ignore[no-untyped-def]
    for row in range(0, len(made), 4):
        for n, each in enumerate(rows8(address + row * groups * 32, groups * 32, tasks[0].x, 0, groups)):
            made[row + n] = each


@njit
def _rows4(rows4, levels, scales, rows, tasks, groups, out):  # type: ignore[no-untyped-def]
    rows4(levels, scales, rows, tasks[0], tasks[0].x, 0, groups, out)


@pytest.mark.skipif(not kernels.AVX2, reason="there is one kernel alone")
def test_the_portable_int8_kernel_is_the_other() -> None:
    """The same whole numbers; sums of float32 may differ by their order."""
    levels, _ = int8(random(32, 576))
    (task, _kept), made = quantised(random(1, 576, 1)[0]), np.empty((2, 32), np.float32)
    for rows8, each in zip((kernels.avx2_rows8, kernels.portable_rows8), made, strict=True):
        _rows8(rows8, levels.data_ptr(), task, 18, each)
    np.testing.assert_allclose(made[0], made[1], rtol=1e-4, atol=1e-5 * np.abs(made).max())


@pytest.mark.parametrize("order", ORDERS)
def test_int4_in_every_order(order: Order) -> None:
    """By the portable kernel, and by the other where it knows the order."""
    weight, x = random(64, 96), random(1, 96, 1)
    levels, scale, zero = int4(weight)
    want = x @ ((levels.unflatten(1, (-1, GROUP)) - 8.0) * scale[..., None] + zero[..., None]).flatten(1).T
    scales = torch.stack((scale, zero), -1).transpose(0, 1).bfloat16().contiguous()
    bytes_ = compiled.packed(levels, order)
    task, _kept = quantised(x[0])
    for name, value in order._asdict().items():
        task[name] = value
    for rows4 in (kernels.portable_rows4, *([kernels.avx2_rows4] if kernels.AVX2 and order.near == 1 else [])):
        made = np.zeros(64, np.float32)
        for block in range(0, 64, 2 * order.half):
            for part in range(0, order.half, 16):
                row = block + part
                place = bytes_.data_ptr() + block // 2 * 96 + part
                _rows4(rows4, place, scales.data_ptr() + 4 * row, 64, task, 3, made.ctypes.data + 4 * row)
        assert (torch.from_numpy(made) - want[0]).abs().max() < 1e-4 * want.abs().max()


def test_the_order_of_torch_is_known() -> None:
    """And told from the others."""
    levels = torch.randint(0, 16, (64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    order = compiled.order()
    assert order
    theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1).flatten()
    assert [each for each in ORDERS if torch.equal(compiled.packed(levels, each), theirs)] == [order]


# Threads -------------------------------------------------------------------------------------------------------------


def work(threads: int) -> tuple[tuple, Tensor, tuple[Any, ...]]:
    """What a step of a product is given, what it makes, and what must be kept until then."""
    levels, scale = int8(random(640, 64))
    packed, ones, made = Matrix(8, 640, 64, levels, scale, None), torch.ones(64), torch.empty(640)
    task = np.zeros(1, kernels.TASK)
    room = compiled.levels(task, "x", 64)
    told = {"half": 16, "threads": threads, "count": 1, "state": ones.data_ptr(), "product": made.data_ptr()}
    for name, value in (told | {"head": packed.record}).items():
        task[name] = value
    return (np.array([-1 << 32, *[0] * 23]), task, np.zeros(0, kernels.BLOCK)), made, (packed, ones, room)


def test_nobody_waits_for_help_that_does_not_come() -> None:
    """One of eight threads does all the work."""
    given, made, (packed, *_) = work(8)
    kernels.step(True, *given)
    want = packed.levels.sum(1) * packed.scales.float()
    assert torch.allclose(made, want, rtol=1e-4, atol=1e-3)


def test_help_that_comes_too_early_or_too_late_goes_again() -> None:
    """It does nothing and does not stay."""
    given, made, _kept = work(2)
    made[:] = 5
    began = time.perf_counter()
    kernels.step(False, *given)
    assert (made == 5).all()
    kernels.step(True, *given)
    kernels.step(False, *given)
    assert time.perf_counter() - began < 5


def test_several_threads_may_use_one_model(tmp_path: Path) -> None:
    """Each with its own cache; all have the same helpers."""
    model = built("llama", 4, tmp_path)
    torch.set_num_threads(2)
    want, got = one_by_one(model, ids()), []

    def read() -> None:
        torch.set_num_threads(2)
        got.extend(one_by_one(model, ids()) for _ in range(10))

    both = [threading.Thread(target=read) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert len(got) == 20
    assert all(torch.equal(each, want) for each in got)


def test_help_that_is_in_the_way_is_done_without() -> None:
    """For a moment after once, for longer where it happens often, and not for long after it went well."""
    helpers = compiled._Helpers()
    assert len(helpers.wanted(2)) == 2
    for _ in range(9):
        helpers.judge(alone=True)
        assert not helpers.wanted(2)
    assert helpers._pause == compiled.LONGEST
    for _ in range(30):
        helpers.judge(alone=False)
    assert helpers._pause == compiled.SHORTEST


def test_what_is_known_of_a_model_is_decided_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = built("llama", 8, tmp_path), []
    monkeypatch.setattr(decode, "known", lambda _: asked.append(1))
    one_by_one(model, [1, 2, 3])
    assert len(asked) == 1
