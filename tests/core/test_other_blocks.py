"""Lenses, patches, walks and training on blocks unlike GPT-2's and Llama's, against transformers with hooks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from reference_models import reference
from steps import last, some_ids, step_on, wrapped
from torch import Tensor, nn

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.sweep import all_patches, sweep
from core.engine.attention import AlibiAttention
from core.engine.config import Experts, ModelConfig
from core.engine.model import Scale, Transformer, generate, random_model
from core.engine.rope import Rope
from core.lenses.attention import attention
from core.lenses.last_token import last_token
from core.loading import description, weights
from core.loading.model import Model
from core.sampling.divergence import kl_bits
from core.sampling.sampler import Sampler
from core.walk.session import Session

LIKE_LLAMA = ("model.layers", "self_attn", "self_attn.o_proj", "mlp")
PARTS = {
    "pythia": ("gpt_neox.layers", "attention", "attention.dense", "mlp"),
    "gptj": ("transformer.h", "attn", "attn.out_proj", "mlp"),
    "falcon-7b": ("transformer.h", "self_attention", "self_attention.dense", "mlp"),
    "falcon-40b": ("transformer.h", "self_attention", "self_attention.dense", "mlp"),
    "falcon-rw": ("transformer.h", "self_attention", "self_attention.dense", "mlp"),
    "opt-norms-after": ("model.decoder.layers", "self_attn", "self_attn.out_proj", "fc2"),
    "phi-2": ("model.layers", "self_attn", "self_attn.dense", "mlp"),
    "phi-3-partial": LIKE_LLAMA,
    **dict.fromkeys(("gemma2", "gemma3", "olmo3", "smollm3", "granite", "mixtral", "qwen2-moe", "gpt-oss"), LIKE_LLAMA),
}
"""In transformers: the list of blocks, and in a block attention, its output projection and the MLP."""
Pair = tuple[Any, Model]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """A reference model, and ours from its files; no test changes their weights."""

    @cache
    def both(case: str) -> Pair:
        model, folder = reference(case, vocab_size=257), tmp_path_factory.mktemp(case)
        model.save_pretrained(folder)
        ours = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32)
        return model, wrapped(ours)

    return both


@torch.inference_mode()
def logits(model: nn.Module, ids: list[int], **more: Any) -> Tensor:
    out = model(torch.tensor([ids]), **more)
    return (out if isinstance(out, Tensor) else out.logits)[0]


# Attention -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*(case for case in PARTS if case != "falcon-rw"), "bloom", "bloom-six-heads-untied"])
def test_attention_patterns_equal_those_of_transformers(case: str, pairs: Callable[[str], Pair]) -> None:
    """Every layer and head."""
    theirs, model = pairs(case)
    eager = type(theirs)._from_config(deepcopy(theirs.config), attn_implementation="eager").eval()
    eager.load_state_dict(theirs.state_dict())
    ids = some_ids(9)
    with torch.inference_mode():
        expected = eager(torch.tensor([ids]), output_attentions=True).attentions
    config, step = model.transformer.config, step_on(model, ids)
    for layer in range(config.blocks):
        for head in range(config.heads):
            view = last(attention(step, layer, head))
            for position, row in enumerate(view.pattern):
                assert row == pytest.approx(expected[layer][0, head, position, : position + 1].tolist(), abs=1e-5)
            assert view.difference < 1e-5


def test_slopes_of_alibi_are_those_of_the_paper() -> None:
    """Press et al. 2022, §3: for 8 heads 1/2, 1/4 … 1/256; for 12 heads four more, between the first ones."""

    def slopes(heads: int) -> list[float]:
        return AlibiAttention(ModelConfig(vocab_size=1, embed_dim=24, heads=heads)).slopes

    assert slopes(8) == [2.0**-i for i in range(1, 9)]
    assert slopes(12) == pytest.approx([*slopes(8), *(2 ** (-i / 2) for i in (1, 3, 5, 7))])
    assert slopes(1) == [2.0**-8]


@pytest.mark.parametrize("case", ["bloom", "bloom-six-heads-untied", "falcon-rw"])
def test_the_formula_of_alibi_equals_the_fast_path(case: str, pairs: Callable[[str], Pair]) -> None:
    """For whole texts, chunks and single queries, in float64."""
    module: AlibiAttention = pairs(case)[1].transformer.blocks[1].attention.attend
    heads = len(module.slopes)
    q, k, v = torch.randn(3, 2, heads, 40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for count in (40, 7, 1):
        part = q[:, :, 40 - count :]
        at = torch.arange(40, dtype=torch.float64)
        slope = torch.tensor(module.slopes, dtype=torch.float64)[:, None, None]
        distance = at - at[40 - count :, None]
        if case == "falcon-rw":
            rounded = (torch.tensor(module.slopes).bfloat16()[:, None] * torch.arange(40)).double() / module.divisor
            bias = rounded[:, None] - rounded[:, 40 - count :, None]
        else:
            bias = slope * distance
        scores = (part @ k.mT / math.sqrt(6) + bias).masked_fill(distance > 0, -math.inf)
        assert (module(part, k, v) - scores.softmax(-1) @ v).abs().max() < 1e-5
        assert (module.weights(part, k) - scores.softmax(-1)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "case", ["pythia", "bloom", "bloom-six-heads-untied", "falcon-40b", "falcon-rw", "gemma2", "gpt-oss"]
)
def test_masking_the_first_token_equals_an_attention_mask(case: str, pairs: Callable[[str], Pair]) -> None:
    """The last-token lens, against `attention_mask` of transformers: distances are kept, so ALiBi is the same."""
    theirs, model = pairs(case)
    ids = some_ids(6)
    mask = torch.tensor([[0, 1, 1, 1, 1, 1]])
    expected = kl_bits(logits(theirs, ids)[-1], logits(theirs, ids, attention_mask=mask)[-1])
    answer = last(last_token(step_on(model, ids), "mask"))
    found = next(each.kl_bits for each in answer.changes if each.position == 0)
    assert found == pytest.approx(expected, abs=1e-4)


# Patches -------------------------------------------------------------------------------------------------------------


@contextmanager
def hooked(module: nn.Module, change: Callable[..., Any], *, before: bool = False) -> Iterator[None]:
    register = module.register_forward_pre_hook if before else module.register_forward_hook
    handle = register(change)
    try:
        yield
    finally:
        handle.remove()


def zeroed(_: nn.Module, __: Any, output: Any) -> Any:
    return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)


@pytest.mark.parametrize("case", PARTS)
def test_ablations_equal_hooks_on_transformers(case: str, pairs: Callable[[str], Pair]) -> None:
    """Zero attention, zero MLP, and each head zeroed before the output projection."""
    theirs, model = pairs(case)
    blocks, *names = PARTS[case]
    block = theirs.get_submodule(blocks)[1]
    whole, out, mlp = (block.get_submodule(name) for name in names)
    ids, size = some_ids(8), model.transformer.config.head_dim
    for part, module in (("attention", whole), ("mlp", mlp)):
        with hooked(module, zeroed):
            want = logits(theirs, ids)
        with patched(model, [Patch(part=part, layer=1)]):  # type: ignore[arg-type]
            assert (logits(model.transformer, ids) - want).abs().max() < 1e-4
    for head in range(model.transformer.config.heads):

        def without(_: nn.Module, inputs: tuple[Tensor], head: int = head) -> tuple[Tensor]:
            x = inputs[0].clone()
            x[..., head * size : (head + 1) * size] = 0
            return (x,)

        with hooked(out, without, before=True):
            want = logits(theirs, ids)
        with patched(model, [Patch(part="head", layer=1, index=head)]):
            assert (logits(model.transformer, ids) - want).abs().max() < 1e-4


@pytest.mark.parametrize(
    "case", ["pythia", "gptj", "bloom", "opt-norms-after", "phi-3-partial", "gemma2", "granite", "mixtral"]
)
@pytest.mark.parametrize("part", ["head", "mlp", "block", "position", "query"])
def test_a_sweep_measures_each_patch_alone(case: str, part: str, pairs: Callable[[str], Pair]) -> None:
    """Also from the embedding on, which has a norm or a projection in some models."""
    _, model = pairs(case)
    ids = some_ids(6)
    patches = all_patches(model.transformer.config, part)[:6]  # type: ignore[arg-type]
    base = logits(model.transformer, ids)[-1]
    for effect in last(sweep(step_on(model, ids, target=7), patches, other=9)).effects:
        with patched(model, [effect.patch]):
            row = logits(model.transformer, ids)[-1]
        assert effect.difference == pytest.approx((row[7] - row[9] - base[7] + base[9]).item(), abs=1e-4)


# Walks and training --------------------------------------------------------------------------------------------------

SHAPES: dict[str, dict[str, Any]] = {
    "parallel": {"layout": "parallel", "positions": "rotary"},
    "parallel, one norm": {"layout": "parallel_one_norm", "positions": "rotary"},
    "norms after": {"layout": "post_norm", "pre_norm": False, "final_norm": False, "positions": "learned"},
    "alibi": {"positions": "alibi", "embed_norm": True},
    "alibi, rounded": {"positions": "alibi", "alibi_rounded": True, "layout": "parallel", "group": 3},
    "windows and caps": {"windows": (3, 0), "attention_cap": 4.0, "positions": "rotary"},
    "sinks": {"windows": (0, 4), "sinks": True, "positions": "rotary"},
    "output norms": {"output_norms": True, "pre_norm": False, "qk_norm": "width", "positions": "rotary"},
    "multipliers": {"attention_scale": 0.2, "embed_scale": 1.5, "residual_scale": 0.7, "logit_divisor": 0.8},
    "experts": {"experts": Experts(count=3, used=2, size=20, normalized=True, shared_size=12), "positions": "rotary"},
    "a rotation per block": {"block_ropes": (Rope(base=50.0, scale=1.3), None), "positions": "rotary"},
    "longrope": {
        "rope": Rope(divisors=(1.0,) * 4, long_divisors=(1.5, 2.0, 3.0, 4.0), trained=7),
        "positions": "rotary",
    },
    "dynamic": {"rope": Rope(growth=3.0, trained=6), "positions": "rotary"},
    "narrow": {"embed_size": 8, "tied": True, "positions": "learned"},
}


def shape(name: str) -> ModelConfig:
    sizes = {"vocab_size": 257, "embed_dim": 24, "context": 12, "blocks": 2, "heads": 3}
    return ModelConfig(**sizes | {"norm": "layer", "pre_norm": True, "feed_forward": True} | SHAPES[name])


@pytest.mark.parametrize("name", SHAPES)
def test_a_walk_draws_the_tokens_of_the_oracle(name: str, stirred: Callable[[ModelConfig], Transformer]) -> None:
    """With logits so far apart that each draw is certain, past the end of the window."""
    model = stirred(shape(name)).requires_grad_(False)
    model.scale = Scale(-1e5)
    ids = list(b"walk")
    want = generate(model, torch.tensor([ids]), 20)[0].tolist()
    session = Session(wrapped(model), Sampler())
    for _ in session.prefill(ids):
        pass
    for _ in session.generate(20):
        pass
    assert [token.id for token in session.tokens] == want


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_can_be_trained(name: str) -> None:
    """Each parameter gets a gradient, and a few steps lower the loss."""
    model = random_model(shape(name), seed=0)
    with torch.inference_mode():
        model(torch.zeros(1, 5, dtype=torch.long))
    model.requires_grad_().train()
    ids = torch.tensor([list(b"oat milk oat ")])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:])
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_have_nearly_the_distribution_of_float32(
    name: str, dtype: torch.dtype, stirred: Callable[[ModelConfig], Transformer]
) -> None:
    """KL divergence below 0.01 bits."""
    model = stirred(shape(name))
    ids = some_ids(11)
    want = logits(model, ids)
    found = logits(stirred(shape(name)).to(dtype), ids).float()
    assert sum(kl_bits(p, q) for p, q in zip(want, found, strict=True)) / len(ids) < 0.01
