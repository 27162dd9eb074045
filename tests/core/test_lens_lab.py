"""Each experiment against arithmetic of its own."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on, wrapped
from test_families import reference

from core.engine.model import Transformer
from core.errors import UserError
from core.lenses import lab as lens
from core.lenses.lab import Lab, lab
from core.loading import description, weights
from core.loading.models import Model
from core.training.dataset import REFERENCE

Small = Callable[..., Model]


@pytest.fixture(scope="module", params=RUNGS)
def shown(request: pytest.FixtureRequest, small: Small) -> tuple[Model, Lab]:
    model = small(request.param)
    return model, last(lab(step_on(model, list(b"oat mi"), target=108)))


def test_curves_against_float64(shown: tuple[Model, Lab]) -> None:
    """GELU(x) = x·Φ(x) by the error function, ReLU(x) = max(0, x), SiLU(x) = x/(1 + e^-x)."""
    switch = shown[1].switch
    assert switch
    exact = {
        "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
        "relu": lambda x: max(0.0, x),
        "silu": lambda x: x / (1 + math.exp(-x)),
    }
    assert (switch.xs[0], switch.xs[40], switch.xs[-1]) == (-4.0, 0.0, 4.0)
    assert {"gelu", "relu", switch.own} == {curve.name for curve in switch.curves}
    for curve in switch.curves:
        assert curve.values == pytest.approx([exact[curve.name](x) for x in switch.xs], abs=1e-6)


def test_the_switch_is_a_model_with_the_other_activation(shown: tuple[Model, Lab]) -> None:
    """The same weights in a stack whose configuration names it; afterwards the model is what it was."""
    model, found = shown
    switch, ids = found.switch, torch.tensor([list(b"oat mi")])
    assert switch
    assert switch.other == "relu"
    other = Transformer(replace(model.transformer.config, activation="relu"))
    other.load_state_dict(model.transformer.state_dict())
    with torch.inference_mode():
        after = other(ids)[0, -1].double().log_softmax(-1)
        before = model.transformer(ids)[0, -1].double().log_softmax(-1)
    assert [each.id for each in switch.after.candidates] == after.topk(10).indices.tolist()
    assert [each.probability for each in switch.after.candidates] == pytest.approx(after.exp().topk(10).values.tolist())
    assert [each.probability for each in switch.before.candidates] == pytest.approx(
        before.exp().topk(10).values.tolist()
    )
    assert switch.kl_bits == pytest.approx((before.exp() * (before - after)).sum().item() / math.log(2), abs=1e-6)
    assert switch.after.taken and switch.after.taken.id == 108


def test_lookup_and_product_are_the_same(shown: tuple[Model, Lab]) -> None:
    """The output, and which rows of the gradient are not zero: those of the tokens that were looked up."""
    lookup = shown[1].lookup
    assert lookup
    assert lookup.difference == 0.0
    assert lookup.lookup_rows == lookup.product_rows == tuple(sorted(set(b"oat mi")))
    assert lookup.rows == 257
    assert lookup.lookup_seconds > 0
    assert lookup.product_seconds > 0


def test_the_norm_is_the_formula(shown: tuple[Model, Lab]) -> None:
    """(x - mean) / √(var + ε) · γ + β, or x / √(mean x² + ε) · γ, in float64."""
    model, found = shown
    assert found.norm
    config, module = model.transformer.config, model.transformer.norm
    x, y = (torch.tensor(each, dtype=torch.float64) for each in (found.norm.before, found.norm.after))
    if config.norm == "rms":
        want = x / (x.square().mean() + 1e-5).sqrt() * module.weight.double()
    else:
        want = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
        want = want * module.weight.double() + module.bias.double() if config.norm == "layer" else want
    assert (want - y).abs().max() < 1e-5
    assert found.norm.own == (config.norm != "none")
    assert found.norm.mean_before == pytest.approx(x.mean().item(), abs=1e-6)
    assert found.norm.std_after == pytest.approx(y.std(correction=0).item(), abs=1e-6)


def test_averaging_is_a_product_with_a_triangle(shown: tuple[Model, Lab]) -> None:
    averaging = shown[1].averaging
    assert averaging
    assert averaging.pieces == (b"o", b"a", b"t", b" ", b"m", b"i")
    for place in range(6):
        assert averaging.seen[place] == tuple(column <= place for column in range(6))
        assert averaging.weights[place] == pytest.approx([1 / (place + 1)] * (place + 1) + [0] * (5 - place))
        means = [sum(row[column] for row in averaging.before[: place + 1]) / (place + 1) for column in range(4)]
        assert averaging.after[place] == pytest.approx(means, abs=1e-6)
    assert averaging.difference < 1e-6


def test_the_batch_is_text_beside_the_same_shifted(shown: tuple[Model, Lab]) -> None:
    """Five sequences of the reference text, each a token on, and the loss of the model on them."""
    model, found = shown
    assert found.batch
    text = REFERENCE.encode()
    for row, (inputs, targets) in enumerate(zip(found.batch.inputs, found.batch.targets, strict=True)):
        assert inputs == tuple(text[row : row + 6])
        assert targets == tuple(text[row + 1 : row + 7])
    assert found.batch.input_pieces[0] == (b"T", b"h", b"e", b" ", b"k", b"e")
    assert found.batch.target_pieces[0] == (b"h", b"e", b" ", b"k", b"e", b"t")
    with torch.inference_mode():
        shares = model.transformer(torch.tensor(found.batch.inputs)).double().log_softmax(-1)
    losses = -shares.gather(-1, torch.tensor(found.batch.targets)[..., None])
    assert found.batch.loss == pytest.approx(losses.mean().item(), abs=1e-5)
    assert found.batch.ln_v == pytest.approx(math.log(257))


def test_experiments_come_one_by_one(small: Small) -> None:
    answers = [each for each in lab(step_on(small("model5"), some_ids(6))) if isinstance(each, Lab)]
    done = [sum(getattr(each, name) is not None for name in Lab.__slots__) for each in answers]
    assert done == [1, 2, 3, 4, 5]


def test_while_it_pauses_the_model_is_its_own(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk may go on between two pieces of the switch."""
    model, ids = small("model5"), some_ids(6)
    with torch.inference_mode():
        want = model.transformer(torch.tensor([ids]))
        for _ in lab(step_on(model, ids)):
            assert torch.equal(model.transformer(torch.tensor([ids])), want)
    assert not any(module._forward_hooks for module in model.transformer.modules())


def test_long_texts_are_switched_at_their_end(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens, "SWITCH_TOKENS", 3)
    model, ids = small("model5"), some_ids(6)
    switch = last(lab(step_on(model, ids))).switch
    assert switch.note == "only the last 3 tokens are read"
    with torch.inference_mode():
        share = model.transformer(torch.tensor([ids[-3:]]))[0, -1].softmax(-1).max().item()
    assert switch.before.candidates[0].probability == pytest.approx(share, rel=1e-5)


def test_its_own_activation_is_no_other(small: Small) -> None:
    with pytest.raises(UserError, match="gelu already"):
        next(lab(step_on(small("model5"), some_ids(4)), "gelu"))
    assert last(lab(step_on(small("model6"), some_ids(4)), "gelu")).switch.other == "gelu"


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_models_have_a_lab(bits: int, tmp_path: Path) -> None:
    """Looking up in a packed table is looking up in what it stands for."""
    reference("llama", hidden_size=64, intermediate_size=96, vocab_size=257).save_pretrained(tmp_path)
    packed = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, bits)
    found = last(lab(step_on(wrapped(packed), list(b"oat milk"))))
    assert found.lookup.difference == 0.0
    assert found.lookup.lookup_rows == tuple(sorted(set(b"oat milk")))
    assert found.switch.kl_bits > 0
