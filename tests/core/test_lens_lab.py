"""The lab lens: each experiment against an independent computation."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference_models import reference
from steps import RUNGS, last, some_ids, step_on, wrapped

from core.engine.model import Transformer
from core.errors import UserError
from core.lenses import lab as lens
from core.lenses.lab import Lab, lab
from core.loading import description, weights
from core.loading.model import Model
from core.training.dataset import REFERENCE

Small = Callable[..., Model]


@pytest.fixture(scope="module", params=RUNGS)
def model_and_lab(request: pytest.FixtureRequest, small: Small) -> tuple[Model, Lab]:
    model = small(request.param)
    return model, last(lab(step_on(model, list(b"oat mi"), target=108)))


def test_activation_curves_equal_float64(model_and_lab: tuple[Model, Lab]) -> None:
    """GELU(x) = x·Φ(x) by the error function, ReLU(x) = max(0, x), SiLU(x) = x/(1 + e^-x)."""
    switch = model_and_lab[1].switch
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


def test_the_switch_equals_a_model_with_the_other_activation(model_and_lab: tuple[Model, Lab]) -> None:
    """A model with the same weights whose configuration names the other function."""
    model, answer = model_and_lab
    switch, ids = answer.switch, torch.tensor([list(b"oat mi")])
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


def test_lookup_equals_the_product_with_one_hot_vectors(model_and_lab: tuple[Model, Lab]) -> None:
    """Equal outputs, and nonzero gradient rows only for the tokens that were looked up."""
    lookup = model_and_lab[1].lookup
    assert lookup
    assert lookup.difference == 0.0
    assert lookup.lookup_rows == lookup.product_rows == tuple(sorted(set(b"oat mi")))
    assert lookup.rows == 257
    assert lookup.lookup_seconds > 0
    assert lookup.product_seconds > 0


def test_the_norm_equals_its_formula(model_and_lab: tuple[Model, Lab]) -> None:
    """(x - mean) / √(var + ε) · γ + β, or x / √(mean x² + ε) · γ, in float64."""
    model, answer = model_and_lab
    assert answer.norm
    config, module = model.transformer.config, model.transformer.norm
    x, y = (torch.tensor(each, dtype=torch.float64) for each in (answer.norm.before, answer.norm.after))
    if config.norm == "rms":
        expected = x / (x.square().mean() + 1e-5).sqrt() * module.weight.double()
    else:
        expected = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
        if config.norm == "layer":
            expected = expected * module.weight.double() + module.bias.double()
    assert (expected - y).abs().max() < 1e-5
    assert answer.norm.own == (config.norm != "none")
    assert answer.norm.mean_before == pytest.approx(x.mean().item(), abs=1e-6)
    assert answer.norm.std_after == pytest.approx(y.std(correction=0).item(), abs=1e-6)


def test_averaging_equals_the_means_row_by_row(model_and_lab: tuple[Model, Lab]) -> None:
    averaging = model_and_lab[1].averaging
    assert averaging
    assert averaging.pieces == (b"o", b"a", b"t", b" ", b"m", b"i")
    for n in range(6):
        assert averaging.seen[n] == tuple(column <= n for column in range(6))
        assert averaging.weights[n] == pytest.approx([1 / (n + 1)] * (n + 1) + [0] * (5 - n))
        means = [sum(row[column] for row in averaging.before[: n + 1]) / (n + 1) for column in range(4)]
        assert averaging.after[n] == pytest.approx(means, abs=1e-6)
    assert averaging.difference < 1e-6


def test_targets_of_the_batch_are_the_inputs_shifted_by_one(model_and_lab: tuple[Model, Lab]) -> None:
    """Five sequences of the reference text, one token apart, and the loss of the model on them."""
    model, answer = model_and_lab
    assert answer.batch
    text = REFERENCE.encode()
    for row, (inputs, targets) in enumerate(zip(answer.batch.inputs, answer.batch.targets, strict=True)):
        assert inputs == tuple(text[row : row + 6])
        assert targets == tuple(text[row + 1 : row + 7])
    assert answer.batch.input_pieces[0] == (b"T", b"h", b"e", b" ", b"k", b"e")
    assert answer.batch.target_pieces[0] == (b"h", b"e", b" ", b"k", b"e", b"t")
    with torch.inference_mode():
        logprobs = model.transformer(torch.tensor(answer.batch.inputs)).double().log_softmax(-1)
    losses = -logprobs.gather(-1, torch.tensor(answer.batch.targets)[..., None])
    assert answer.batch.loss == pytest.approx(losses.mean().item(), abs=1e-5)
    assert answer.batch.ln_v == pytest.approx(math.log(257))


def test_each_answer_has_one_more_experiment(small: Small) -> None:
    answers = [each for each in lab(step_on(small("model5"), some_ids(6))) if isinstance(each, Lab)]
    done = [sum(getattr(each, name) is not None for name in Lab.__slots__) for each in answers]
    assert done == [1, 2, 3, 4, 5]


def test_the_model_is_unchanged_at_each_pause(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk can go on between two answers."""
    model, ids = small("model5"), some_ids(6)
    with torch.inference_mode():
        expected = model.transformer(torch.tensor([ids]))
        for _ in lab(step_on(model, ids)):
            assert torch.equal(model.transformer(torch.tensor([ids])), expected)
    assert not any(module._forward_hooks for module in model.transformer.modules())


def test_the_switch_reads_the_end_of_a_long_text(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens, "SWITCH_TOKENS", 3)
    model, ids = small("model5"), some_ids(6)
    switch = last(lab(step_on(model, ids))).switch
    assert switch.note == "only the last 3 tokens are read"
    with torch.inference_mode():
        probability = model.transformer(torch.tensor([ids[-3:]]))[0, -1].softmax(-1).max().item()
    assert switch.before.candidates[0].probability == pytest.approx(probability, rel=1e-5)


def test_a_switch_to_the_own_activation_is_a_user_error(small: Small) -> None:
    with pytest.raises(UserError, match="gelu already"):
        next(lab(step_on(small("model5"), some_ids(4)), "gelu"))
    assert last(lab(step_on(small("model6"), some_ids(4)), "gelu")).switch.other == "gelu"


@pytest.mark.parametrize("packing", ["int8", "int4"])
def test_the_lab_of_a_packed_model(packing: str, tmp_path: Path) -> None:
    """The lookup uses the dequantized table."""
    reference("llama", hidden_size=64, intermediate_size=96, vocab_size=257).save_pretrained(tmp_path)
    packed = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, packing)
    answer = last(lab(step_on(wrapped(packed), list(b"oat milk"))))
    assert answer.lookup.difference == 0.0
    assert answer.lookup.lookup_rows == tuple(sorted(set(b"oat milk")))
    assert answer.switch.kl_bits > 0
