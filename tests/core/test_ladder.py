"""The rungs are the article's models: they are compared with torch's layers and with formulas in float64."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from rung_formulas import REFERENCE, gelu, relu, silu
from torch import Tensor, nn

from core.engine.config import ModelConfig
from core.engine.model import Transformer, random_model
from core.loading import ladder, tokenizers
from core.loading.choice import Hyperparameters, ModelChoice

V = 97
Config = Callable[..., ModelConfig]


def ids(batch: int, length: int, vocab_size: int = V, seed: int = 7) -> Tensor:
    return torch.randint(0, vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


# The reference: plain operations on float64 weights, one function per rung --------------------------------------------

SIZES = {
    "model1": {"embed_dim": 12},
    "model2": {"embed_dim": 12, "context": 5},
    "model3": {"embed_dim": 12, "context": 5},
    "model4": {"embed_dim": 12, "context": 5, "blocks": 2},
    "model5": {"embed_dim": 12, "context": 5, "blocks": 2, "heads": 3},
    "model6": {"embed_dim": 24, "context": 5, "blocks": 2, "heads": 6},
}


@pytest.mark.parametrize("act", [gelu, relu, silu])
@pytest.mark.parametrize("name", ladder.NAMES)
def test_a_rung_equals_its_formula(
    name: str,
    act: Callable[[Tensor], Tensor],
    stirred: Callable[[ModelConfig], Transformer],
) -> None:
    """The formula is written out with plain float64 operations and attention in loops."""
    changes = Hyperparameters(**SIZES[name], activation=act.__name__)
    model = stirred(ladder.rung(name, V, changes).config)
    weights = {key: value.double() for key, value in model.state_dict().items()}
    x = ids(3, 5)
    want = REFERENCE[name](weights, x, model.config, act)
    got = model(x)
    assert got.shape == (3, 5, V)
    assert (got.double() - want).abs().max() < 1e-5
    assert (model.double()(x) - want).abs().max() < 1e-12


def test_model_1_equals_the_articles_three_layers() -> None:
    """Model 1 has exactly the logits of nn.Embedding(V, 64) -> nn.GELU() -> nn.Linear(64, V) with the same weights."""
    model = random_model(ladder.rung("model1", V).config, seed=3)
    article = nn.Sequential(nn.Embedding(V, 64), nn.GELU(), nn.Linear(64, V))
    names = {"embed.weight": "0.weight", "unembed.weight": "2.weight", "unembed.bias": "2.bias"}
    article.load_state_dict({names[name]: value for name, value in model.state_dict().items()}, strict=True)
    x = ids(5, 8)
    assert torch.equal(model(x), article(x))


@pytest.mark.parametrize("heads", [1, 4])
def test_a_block_of_model_5_equals_torchs_encoder_layer_with_a_causal_mask(
    heads: int, stirred: Callable[[ModelConfig], Transformer], rung_config: Config
) -> None:
    """A pre-norm block equals nn.TransformerEncoderLayer(norm_first=True) with the same weights, in float64."""
    d, length = 16, 7
    block = stirred(rung_config("model5", embed_dim=d, heads=heads, blocks=1, context=length)).double().blocks[0]
    layer = nn.TransformerEncoderLayer(d, heads, 4 * d, 0.0, "gelu", batch_first=True, norm_first=True).double().eval()
    names = {
        "attention.qkv.weight": "self_attn.in_proj_weight",
        "attention.qkv.bias": "self_attn.in_proj_bias",
        "attention.out.weight": "self_attn.out_proj.weight",
        "attention.out.bias": "self_attn.out_proj.bias",
        "feed_forward.up.weight": "linear1.weight",
        "feed_forward.up.bias": "linear1.bias",
        "feed_forward.down.weight": "linear2.weight",
        "feed_forward.down.bias": "linear2.bias",
    }
    layer.load_state_dict({names.get(name, name): value for name, value in block.state_dict().items()}, strict=True)
    x = torch.randn(2, length, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = nn.Transformer.generate_square_subsequent_mask(length, dtype=torch.float64)
    assert (block(x, 0, None) - layer(x, src_mask=mask)).abs().max() < 1e-12


# What each rung adds --------------------------------------------------------------------------------------------------


def shapes(name: str, **changes: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = Transformer(ladder.rung(name, V, Hyperparameters(**changes)).config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


ATTENTION = {
    "attention.qkv.weight": (192, 64),
    "attention.qkv.bias": (192,),
    "attention.out.weight": (64, 64),
    "attention.out.bias": (64,),
}
REST_OF_A_BLOCK = {
    "norm1.weight": (64,),
    "norm1.bias": (64,),
    "norm2.weight": (64,),
    "norm2.bias": (64,),
    "feed_forward.up.weight": (256, 64),
    "feed_forward.up.bias": (256,),
    "feed_forward.down.weight": (64, 256),
    "feed_forward.down.bias": (64,),
}


def in_block(n: int, parts: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"blocks.{n}.{name}": shape for name, shape in parts.items()}


def test_model_1_has_exactly_three_parameters() -> None:
    """An embedding, and an unembedding with a bias (article: Model 1)."""
    assert shapes("model1") == {"embed.weight": (V, 64), "unembed.weight": (V, 64), "unembed.bias": (V,)}


ADDED = {
    "model2": {"position.weight": (8, 64), "norm.weight": (64,), "norm.bias": (64,)},
    "model3": in_block(0, ATTENTION),
    "model4": in_block(0, REST_OF_A_BLOCK)
    | in_block(1, ATTENTION | REST_OF_A_BLOCK)
    | in_block(2, ATTENTION | REST_OF_A_BLOCK)
    | in_block(3, ATTENTION | REST_OF_A_BLOCK),
    "model5": {},
    "model6": {},
}
DROPPED = {
    "model2": {"unembed.weight", "unembed.bias"},
    "model3": set(),
    "model4": set(),
    "model5": set(),
    "model6": {"position.weight", "norm.bias"}
    | {f"blocks.{n}.{name}" for n in range(4) for name in ATTENTION | REST_OF_A_BLOCK if name.endswith("bias")},
}
RESHAPED = {
    "model6": {
        "attention.qkv.weight": (64 + 2 * 32, 64),  # two query heads share one key head and one value head
        "feed_forward.up.weight": (2 * 170, 64),  # ⌊8/3 · 64⌋ gates, and as many values
        "feed_forward.down.weight": (64, 170),
    }
}


@pytest.mark.parametrize("name", ladder.NAMES[1:])
def test_a_rung_adds_and_drops_only_the_named_parameters(name: str) -> None:
    """Compared with the rung before; every other parameter keeps its name and shape (article: five models)."""
    before, now = shapes(ladder.NAMES[ladder.NAMES.index(name) - 1]), shapes(name)
    assert {key: shape for key, shape in now.items() if key not in before} == ADDED[name]
    assert before.keys() - now.keys() == DROPPED[name]
    reshaped = {key: shape for n in range(4) for key, shape in in_block(n, RESHAPED.get(name, {})).items()}
    assert {key: now[key] for key in now.keys() & before.keys() if now[key] != before[key]} == reshaped


def test_model_5_has_the_weights_of_model_4_and_other_logits() -> None:
    """Multiple heads reshape the same weights."""
    four, five = (random_model(ladder.rung(name, V).config, seed=1) for name in ("model4", "model5"))
    for (name, one), (other_name, other) in zip(four.named_parameters(), five.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one, other)
    x = ids(1, 8)
    assert not torch.allclose(four(x), five(x), atol=1e-6)


@pytest.mark.parametrize("name", ladder.NAMES[1:])
def test_the_unembedding_is_tied_from_model_2_on(name: str) -> None:
    """Tied weights are one tensor, which counts once."""
    model = random_model(ladder.rung(name, V).config, seed=0)
    assert model.unembed.weight is model.embed.weight
    assert model.unembed.bias is None
    assert model.parameter_count() == sum(math.prod(shape) for shape in shapes(name).values())


def test_model_5_with_gpt_2s_sizes_has_gpt_2s_parameter_count() -> None:
    """12 layers, 12 heads, d = 768, T = 1024 and V = 50,257 give 124,439,808 parameters."""
    sizes = Hyperparameters(embed_dim=768, context=1024, blocks=12, heads=12)
    with torch.device("meta"):
        model = Transformer(ladder.rung("model5", 50_257, sizes).config)
    assert model.parameter_count() == 124_439_808


# Hyperparameters, weights, loss ---------------------------------------------------------------------------------------


def test_the_default_sizes_are_those_of_the_article() -> None:
    """V = 100,277 (cl100k), d = 64, T = 8; then 1 block, 4 blocks, 4 heads, and 2 key heads for 4 query heads."""
    choice = ModelChoice()
    assert (choice.name, choice.tokenizer, choice.weights_seed) == ("model1", "cl100k", 0)
    configs = [rung.config for rung in ladder.rungs(tokenizers.load_tokenizer(choice.tokenizer).vocab_size)]
    assert [(c.vocab_size, c.embed_dim, c.context) for c in configs] == [(100_277, 64, 8)] * 6
    assert [c.activation for c in configs] == ["gelu"] * 5 + ["silu"]
    assert [c.blocks for c in configs] == [0, 0, 1, 4, 4, 4]
    assert [c.heads for c in configs] == [1, 1, 1, 1, 4, 4]
    assert [c.kv_heads for c in configs] == [1, 1, 1, 1, 4, 2]
    assert ladder.NAMES == ("model1", "model2", "model3", "model4", "model5", "model6")


def test_every_hyperparameter_can_be_changed() -> None:
    """The changed values are in the config, and no other value changes."""
    changes = Hyperparameters(embed_dim=12, context=3, blocks=2, heads=6, activation="relu")
    changed, plain = ladder.rung("model5", V, changes).config, ladder.rung("model5", V).config
    different = {key for key in changed.__slots__ if getattr(changed, key) != getattr(plain, key)}
    assert different == {"embed_dim", "context", "blocks", "heads", "activation"}
    assert (changed.embed_dim, changed.context, changed.blocks, changed.heads) == (12, 3, 2, 6)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [("gelu", F.gelu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")), ("relu", F.relu), ("silu", F.silu)],
)
def test_the_activation_function_can_be_chosen(activation: str, formula: Callable[[Tensor], Tensor]) -> None:
    """The weights stay the same, and the logits are those of torch's function (article: GELU and ReLU)."""
    plain = random_model(ModelConfig(vocab_size=V), seed=0)
    model = random_model(ModelConfig(vocab_size=V, activation=activation), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    x = ids(2, 4)
    assert torch.equal(model(x), F.linear(formula(model.embed(x)), model.unembed.weight, model.unembed.bias))


@pytest.mark.parametrize("name", ladder.NAMES)
def test_weights_depend_on_the_config_and_the_seed_alone(name: str) -> None:
    """The state of torch's global generator has no influence; another seed gives other weights."""
    config = ladder.rung(name, V).config
    torch.manual_seed(1)
    first = random_model(config, seed=5)
    torch.manual_seed(2)
    torch.rand(3)
    again, other = random_model(config, seed=5), random_model(config, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.embed.weight, other.embed.weight)
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in first.parameters())


def test_random_weights_leave_the_global_generator_as_it_was() -> None:
    """Torch's next random numbers are the same as without a model."""
    torch.manual_seed(9)
    want = torch.rand(4)
    torch.manual_seed(9)
    random_model(ladder.rung("model5", V).config, seed=0)
    assert torch.equal(torch.rand(4), want)


@pytest.mark.parametrize("name", ladder.NAMES)
def test_the_loss_of_an_untrained_rung_is_about_ln_v(name: str) -> None:
    """On a [5, 8] batch of random targets (article: untrained weights give gibberish).

    Logits of random weights are about normal with a variance σ², and independent of the targets. So the expected
    loss is ln V + σ²/2, the mean of ln Σ exp(logit), and 40 targets give it a standard error of σ/√40.
    """
    vocab_size = 100_277
    model = random_model(ladder.rung(name, vocab_size).config, seed=0)
    logits = model(ids(5, 8, vocab_size, seed=1))
    loss = F.cross_entropy(logits.flatten(0, 1), ids(5, 8, vocab_size, seed=2).flatten())
    sigma = logits.std().item()
    assert sigma**2 / 2 < (0.02 if model.config.init_std else 0.25)  # torch's default weights are larger than GPT-2's
    expected = math.log(vocab_size) + sigma**2 / 2
    assert logits.logsumexp(-1).mean().item() == pytest.approx(expected, abs=0.005)
    assert loss.item() == pytest.approx(expected, abs=4 * sigma / math.sqrt(40))


@pytest.mark.parametrize("name", ["model4", "model5", "model6"])
def test_random_weights_of_the_last_rungs_follow_gpt_2(name: str) -> None:
    """Weights N(0, 0.02), divided by √(2N) where they write to the residual stream; biases 0; norms are identities."""
    model = random_model(ladder.rung(name, 1000).config, seed=0)
    for key, value in model.named_parameters():
        if "norm" in key:
            assert torch.equal(value, torch.full_like(value, float(key.endswith("weight"))))
        elif key.endswith("bias"):
            assert not value.any()
        else:
            want = 0.02 / math.sqrt(8) if key.endswith(("out.weight", "down.weight")) else 0.02
            spread = 4 * want / math.sqrt(2 * value.numel())  # four standard errors of a standard deviation
            assert value.std().item() == pytest.approx(want, abs=spread)


@pytest.mark.parametrize("name", ["model1", "model2"])
def test_without_attention_only_the_last_token_matters(name: str, rung_config: Config) -> None:
    """Changing all earlier tokens leaves the last logits bit for bit; with attention it does not (article: a
    misconception, "the model only uses the last token")."""
    x = ids(1, 8)
    changed = torch.cat(((x[:, :-1] + 1) % V, x[:, -1:]), dim=1)
    model = random_model(rung_config(name), seed=0)
    assert model.config.reach == 1
    assert torch.equal(model(x)[:, -1], model(changed)[:, -1])
    attentive = random_model(rung_config("model3"), seed=0)
    assert attentive.config.reach == attentive.config.context
    assert not torch.allclose(attentive(x)[:, -1], attentive(changed)[:, -1], atol=1e-4)


@pytest.mark.parametrize("name", ladder.NAMES)
def test_a_position_does_not_see_later_tokens(name: str, rung_config: Config) -> None:
    """Causality: another token at position 5 leaves the logits before it as they were."""
    model = random_model(rung_config(name), seed=0)
    x = ids(1, 8)
    changed = x.clone()
    changed[0, 5] = (changed[0, 5] + 1) % V
    one, other = model(x), model(changed)
    assert (one[:, :5] - other[:, :5]).abs().max() < 1e-6
    assert (one[:, 5] - other[:, 5]).abs().max() > 1e-3
