"""Compiled code computes what the modules compute, for every family, size and processor path."""

import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference_models import CASES, reference
from texts import TEXTS
from torch import Tensor

from core.activations.trace import recording
from core.engine import threads
from core.engine.cache import KVCache
from core.engine.config import ModelConfig
from core.engine.hooks import ForwardHooks
from core.engine.lora import Adapter, LowRank, Shift, WeightDecomposed
from core.engine.model import Transformer
from core.engine.packed import compiled, decode
from core.engine.packed.decode import CompiledTransformer, TokenStep, unsupported
from core.engine.packed.kernels.native.code import PORTABLE
from core.engine.packed.linear import Packed, PackedEmbedding, PackedLinear, matrix
from core.engine.prefix import Prefix
from core.loading import description, weights
from core.loading.model import Model

MULTIPLES_OF_32 = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
OTHER_SIZES = {
    "qwen3": {"head_dim": 16, **MULTIPLES_OF_32},
    "llama-biases": {"head_dim": 32, **MULTIPLES_OF_32, "intermediate_size": 160},
    "mistral": {"head_dim": 8, **MULTIPLES_OF_32, "hidden_size": 48, "intermediate_size": 80},
    "llama-scaled": {"hidden_size": 64, "intermediate_size": 33, "head_dim": 22},
    "qwen2-moe": {**MULTIPLES_OF_32, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 32},
}
"""For some reference models, sizes that differ from `CASES`."""
SIZES = {case: OTHER_SIZES.get(case, {}) for case in CASES}
"""Those of `CASES` are widths such as 20, 36, 40, 50 and 56, heads of 6, 9, 10 and 14."""
LAID_OUT = ("gpt2", "gptj", "pythia", "falcon-40b", "bloom", "llama", "mixtral", "qwen2-tied", "gpt-oss")
"""Whose files lay rows and columns out in different ways."""
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def build(case: str, packing: str, folder: Path) -> CompiledTransformer:
    reference(case, **SIZES[case]).save_pretrained(folder)
    model = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32, packing)
    assert isinstance(model, CompiledTransformer)
    return model


def rebuilt(model: CompiledTransformer, config: ModelConfig) -> CompiledTransformer:
    """The same packed weights in a model of another configuration."""
    with torch.device("meta"):
        other = CompiledTransformer(config)
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear | PackedEmbedding | torch.nn.RMSNorm | torch.nn.LayerNorm):
            other.set_submodule(name, module)
    return other.requires_grad_(False).eval()


def ids(count: int = 20) -> list[int]:
    return torch.randint(0, 83, (count,), generator=torch.Generator().manual_seed(3)).tolist()


@torch.inference_mode()
def token_by_token(model: CompiledTransformer, ids: list[int], cache: KVCache | None = None) -> Tensor:
    """Logits after each token, [T, V], float32."""
    cache = KVCache(model.config, 1, model.device, model.dtype) if cache is None else cache
    return torch.cat([model.step(torch.tensor([[id]]), cache)[1][0] for id in ids])


def dequantized(model: CompiledTransformer) -> Transformer:
    """The same model in float32, with the weights that the quantized ones stand for."""
    whole = Transformer(model.config).requires_grad_(False)
    for name, parameter in whole.named_parameters():
        path, _, field = name.rpartition(".")
        module = model.get_submodule(path)
        if isinstance(module, PackedLinear | PackedEmbedding):
            parameter.copy_(matrix(module) if field == "weight" else module.add_bias.bias)
        else:
            parameter.copy_(module.get_parameter(field))
    return whole


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, divided by that of `expected`."""
    return ((result - expected).square().mean() / expected.square().mean()).sqrt().item()


# The modules are the oracle ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "packing"), [*((case, "int8") for case in SIZES), *((case, "int4") for case in OTHER_SIZES)]
)
def test_compiled_tokens_equal_the_modules_and_float32(case: str, packing: str, tmp_path: Path) -> None:
    """Of every family, past its windows, with sizes that are multiples of 32 and others, by each path there is."""
    model = build(case, packing, tmp_path)
    assert model.fast
    fast = token_by_token(model, ids())
    with torch.inference_mode():
        expected = dequantized(model)(torch.tensor([ids()]))[0]
        prompt = model(torch.tensor([ids()]))[0]
    model.fast = TokenStep(model, PORTABLE)
    portable = token_by_token(model, ids())
    model.fast = None
    for each in (fast, prompt, portable, token_by_token(model, ids())):
        assert relative_error(each, expected) < 0.001
    assert relative_error(fast, prompt) < 0.001


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, torch.float32) for case in CASES), *((case, HALVES[n % 2]) for n, case in enumerate(LAID_OUT))],
)
def test_float32_equals_transformers(case: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """A prompt and token by token. Numbers of 16 bits stay what the file has, and are multiplied in float32."""
    whole = reference(case, **SIZES[case])
    for parameter in whole.parameters():
        parameter.data = parameter.to(dtype).float()
    deepcopy(whole).to(dtype).save_pretrained(tmp_path)
    model = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, "fp32")
    assert isinstance(model, CompiledTransformer)
    assert model.fast
    formats = {part.format for module in model.modules() if isinstance(module, Packed) for part in module.parts}
    assert [compiled.PLAIN[format] for format in formats] == [dtype]
    with torch.inference_mode():
        expected = whole(torch.tensor([ids()])).logits[0]
        prompt = model(torch.tensor([ids()]))[0]
    for each in (prompt, token_by_token(model, ids())):
        assert (each - expected).abs().max() < 1e-4


@pytest.mark.parametrize("rope", ["longrope", "dynamic"])
def test_rotations_that_depend_on_the_length(rope: str, tmp_path: Path) -> None:
    """Position by position as in a whole pass over the text so far, also where the frequencies change."""
    model = build("phi-3-partial" if rope == "longrope" else "llama", "int8", tmp_path)
    size = model.config.rope.size or model.config.head_dim
    changes = {"growth": 2.0} if rope == "dynamic" else {"long_divisors": tuple(float(2 + n) for n in range(size // 2))}
    config = replace(model.config, rope=replace(model.config.rope, trained=6, **changes))
    model = rebuilt(model, config)
    assert model.fast
    prefix, oracle = Prefix(model), Prefix(dequantized(model))
    for id in ids(12):
        for each in (prefix, oracle):
            each.append([[id]])
        last = [prefix.length - 1]
        assert relative_error(prefix.logits(last), oracle.logits(last)) < 0.001


def test_any_number_of_threads_computes_the_same(tmp_path: Path) -> None:
    """To the last bit, also with more threads than there are cores."""
    model = build("llama", "int4", tmp_path)
    torch.set_num_threads(1)
    alone = token_by_token(model, ids())
    for count in (2, 5):
        torch.set_num_threads(count)
        for _ in range(5):
            assert torch.equal(token_by_token(model, ids()), alone)


@pytest.mark.parametrize("case", ["qwen3", "gemma2", "mixtral", "bloom"])
def test_a_rewound_cache_and_one_filled_by_both_paths(case: str, tmp_path: Path) -> None:
    """Both paths use the same cache, and may alternate between caches."""
    model = build(case, "int8", tmp_path)
    cache = KVCache(model.config, 1, model.device, model.dtype)
    expected = token_by_token(model, ids(), cache)
    for length in (7, 0):
        cache.rewind(length)
        token_by_token(model, ids(3))
        assert torch.equal(token_by_token(model, ids()[length:], cache), expected[length:])
    cache.rewind(3)
    with torch.inference_mode():
        model(torch.tensor([ids()[3:12]]), cache)
    assert relative_error(token_by_token(model, ids()[12:], cache), expected[12:]) < 0.001
    copy = cache.first(12)
    assert torch.equal(token_by_token(model, ids()[12:], copy), token_by_token(model, ids()[12:], cache.first(12)))


@torch.inference_mode()
def test_smollm2_token_by_token_is_close_to_float32(smollm2: Callable[[str], Model]) -> None:
    """KL divergence from float32 over all positions of a few texts, in nats; and the likeliest token."""
    whole = smollm2("fp32")
    prompts = [whole.tokenizer.encode(text) for text in TEXTS]
    expected = torch.cat([whole.transformer(torch.tensor([prompt]))[0] for prompt in prompts]).log_softmax(-1)
    for dtype, limit in (("int4", 0.002), ("int8", 0.007)):
        packed = smollm2(dtype).transformer
        assert isinstance(packed, CompiledTransformer)
        assert packed.fast
        result = torch.cat([token_by_token(packed, prompt) for prompt in prompts]).log_softmax(-1)
        assert (expected.exp() * (expected - result)).sum(-1).mean() < limit
        assert (expected.argmax(-1) == result.argmax(-1)).float().mean() > 0.93


# When the modules compute --------------------------------------------------------------------------------------------


def test_hooks_are_called_on_every_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled step does not run while anything is hooked anywhere, and runs again afterwards."""
    model, calls = build("llama", "int4", tmp_path), []
    width = model.config.embed_dim
    monkeypatch.setattr(
        TokenStep, "step", lambda *_: calls.append(1) or (torch.zeros(1, 1, width), torch.zeros(1, 1, 83))
    )
    for name, module in model.named_modules():
        if name:
            for hook in (module.register_forward_hook, module.register_forward_pre_hook):
                handle = hook(lambda *_: None)
                token_by_token(model, [1])
                handle.remove()
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    token_by_token(model, [1])
    handle.remove()
    with recording(model, ["blocks.1.attention.attend"]) as trace:
        token_by_token(model, [1])
    assert len(trace.outputs) == 1
    assert not calls
    token_by_token(model, [1, 2])
    assert len(calls) == 2


@torch.inference_mode()
def test_the_compiled_step_needs_one_token_of_one_sequence_and_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches, several tokens and a pass without a cache go through the modules."""
    model = build("llama", "int8", tmp_path)
    monkeypatch.setattr(TokenStep, "step", lambda *_: pytest.fail("the compiled step ran"))
    assert model(torch.tensor([[1]])).shape == (1, 1, 83)
    for batch, count in ((2, 1), (1, 2)):
        cache = KVCache(model.config, batch, model.device, model.dtype)
        states, logits = model.step(torch.ones(batch, count, dtype=torch.long), cache)
        assert states.shape == (batch, count, model.config.embed_dim)
        assert logits.shape == (batch, count, 83)
        assert cache.length == count


def test_whether_a_model_is_supported_is_decided_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = build("llama", "int8", tmp_path), []
    monkeypatch.setattr(decode, "unsupported", lambda _: calls.append(1))
    token_by_token(model, [1, 2, 3])
    assert len(calls) == 1


# Adapters ------------------------------------------------------------------------------------------------------------


def low_rank(module: PackedLinear, first: int = 0, last: int | None = None) -> tuple[slice, LowRank]:
    """A random addition of rank 3 to some rows of a linear map."""
    rows, generator = slice(first, last), torch.Generator().manual_seed(first + module.shape[1])
    down, up = (
        torch.randn(3, module.shape[1], generator=generator),
        torch.randn(module.shape[0], 3, generator=generator),
    )
    return rows, LowRank(0.1 * down, up[rows], 0.7)


def adapt(model: CompiledTransformer, scale: float = 0.5) -> Adapter:
    """Low-rank additions to every linear map, of queries and values apart as adapters have them, and a bias."""
    deltas = {name: [low_rank(module)] for name, module in model.named_modules() if isinstance(module, PackedLinear)}
    for number, block in enumerate(model.blocks):
        qkv = block.attention.qkv
        deltas[f"blocks.{number}.attention.qkv"] = [low_rank(qkv, 0, 10), low_rank(qkv, 20)]
        deltas[f"blocks.{number}.feed_forward.down"].append((slice(None), Shift(torch.ones(model.config.embed_dim))))
    return Adapter(model, deltas, scale)


@pytest.mark.parametrize("case", ["llama-biases", "gemma2", "pythia", "opt-norms-after"])
def test_low_rank_additions_are_part_of_the_compiled_step(case: str, tmp_path: Path) -> None:
    """At any scale; and without them the step computes what it did, to the last bit."""
    model = build(case, "int8", tmp_path)
    assert model.fast
    plain = token_by_token(model, ids())
    adapter = adapt(model)
    for scale in (0.5, -1.5):
        adapter.scale = scale
        assert not model.fast.hooked
        with torch.inference_mode():
            expected = model(torch.tensor([ids()]))[0]
        assert relative_error(token_by_token(model, ids()), expected) < 0.001
        assert relative_error(plain, expected) > 0.05
    with adapter.suspended():
        assert torch.equal(token_by_token(model, ids()), plain)
    assert relative_error(token_by_token(model, ids()), expected) < 0.001
    adapter.scale = 0
    assert torch.equal(token_by_token(model, ids()), plain)


def test_other_additions_are_left_to_the_modules(tmp_path: Path) -> None:
    """Those of a weight-decomposed adapter, or of single experts."""
    model = build("mixtral", "int8", tmp_path)
    assert model.fast
    for name in ("blocks.0.feed_forward.experts.1.up", "blocks.1.attention.out"):
        rows, delta = low_rank(model.get_submodule(name))
        norms = torch.ones(model.get_submodule(name).shape[0])
        kind = delta if "experts" in name else WeightDecomposed(delta, 2 * norms, norms, None)
        adapter = Adapter(model, {name: [(rows, kind)]})
        assert model.fast.hooked
        with torch.inference_mode():
            expected = model(torch.tensor([ids()]))[0]
        assert relative_error(token_by_token(model, ids()), expected) < 0.001
        adapter.scale = 0
        assert not model.fast.hooked


# The name of the implementation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["int8", "int4"])
@pytest.mark.parametrize("case", ["llama", "gpt2", "llama-biases"])
def test_without_a_compiler_torch_computes_everything(
    case: str, packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own kernels in bfloat16, of any size; the model says why."""
    monkeypatch.setattr(compiled, "problem", lambda: "no compiler available (ImportError: no numba)")
    model = build(case, packing, tmp_path)
    monkeypatch.setattr(compiled, "run", lambda *_: pytest.fail("compiled code ran"))
    assert model.fast is None
    assert model.implementation == "torch: no compiler available (ImportError: no numba)"
    with torch.inference_mode():
        expected = dequantized(model)(torch.tensor([ids()]))[0]
    assert relative_error(token_by_token(model, ids()), expected) < 0.05


def test_a_model_says_what_computes_its_tokens(tmp_path: Path) -> None:
    model = build("llama", "int8", tmp_path)
    assert model.implementation == f"compiled kernels ({compiled.instructions()})"
    with ForwardHooks() as hooks:
        hooks.after(model.blocks[0], lambda *_: None)
        assert model.implementation.endswith("an adapter or a patch bypasses the compiled step")
    assert model.implementation == f"compiled kernels ({compiled.instructions()})"
    assert Transformer(model.config).implementation == "torch"
    assert unsupported(model) is None
    assert (
        unsupported(dequantized(model))
        == "the compiled step does not support this model: not all of its matrices are packed"
    )


def test_a_compiler_that_fails_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises."""
    compiled.problem.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "kernels", lambda: 1 / 0)
            assert not compiled.available()
            assert compiled.problem() == "no compiler available (ZeroDivisionError: division by zero)"
    finally:
        compiled.problem.cache_clear()
    assert compiled.available()


# Threads -------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_between_products_of_few_positions_torch_uses_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The products keep theirs, and no bit of the result changes."""
    model, seen, text = build("llama", "int4", tmp_path), [], torch.tensor([ids(decode.FEW + 1)])
    torch.set_num_threads(2)
    with ForwardHooks() as hooks:
        hooks.after(model.blocks[0], lambda *_: seen.append((torch.get_num_threads(), threads.products())))
        states = [model.hidden(text[:, :count]) for count in (1, decode.FEW, decode.FEW + 1)]
    assert seen == [(1, 2), (1, 2), (2, 2)]
    assert torch.get_num_threads() == threads.products() == 2
    monkeypatch.setattr(decode, "FEW", 0)
    for state in states:
        assert torch.equal(state, model.hidden(text[:, : state.shape[1]]))


def test_sharing_only_products_ends_with_its_block() -> None:
    """Also when the block raises an error, and within another."""
    torch.set_num_threads(3)
    with threads.only_products_shared():
        with pytest.raises(ZeroDivisionError), threads.only_products_shared():
            assert (torch.get_num_threads(), threads.products()) == (1, 3)
            1 / 0  # noqa: B018
        assert (torch.get_num_threads(), threads.products()) == (1, 3)
    assert torch.get_num_threads() == threads.products() == 3


def test_several_threads_may_use_one_model(tmp_path: Path) -> None:
    """Each has its own cache; they share the helper threads."""
    model = build("llama", "int4", tmp_path)
    torch.set_num_threads(2)
    expected, results = token_by_token(model, ids()), []

    def read() -> None:
        torch.set_num_threads(2)
        results.extend(token_by_token(model, ids()) for _ in range(10))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    for each in readers:
        each.join(60)
    assert len(results) == 20
    assert all(torch.equal(each, expected) for each in results)
