"""The device lens: times for each usable device, parity computed from the logits."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from steps import last, some_ids, step_on

from core.engine import device as devices
from core.engine.info import DeviceInfo
from core.lenses import device as lens
from core.lenses.device import Devices, device
from core.loading import models
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.progress import Progress

CHOICE = ModelChoice(
    name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(embed_dim=16, blocks=2, heads=2)
)
IDS = some_ids(8)
Load = Callable[[str], Model]


@pytest.fixture(scope="module")
def load() -> Load:
    return lambda dtype: models.load_model(replace(CHOICE, dtype=dtype))


def test_float32_on_the_cpu_has_no_parity_as_it_is_the_reference(load: Load) -> None:
    answer: Devices = last(device(step_on(load("fp32"), IDS)))
    assert (answer.device, answer.dtype, answer.tokens, answer.parity) == ("cpu", "fp32", 8, None)
    assert "compared" in answer.note


def test_every_device_has_times_or_a_problem(load: Load) -> None:
    model = load("fp32")
    answer = last(device(step_on(model, IDS)))
    assert [each.name for each in answer.times] == [info.name for info in devices.devices()]
    for times, info in zip(answer.times, devices.devices(), strict=True):
        if info.problem:
            assert times.problem == info.problem
            assert times.create_seconds is times.forward_seconds is times.train_seconds is None
        else:
            assert times.create_seconds and times.forward_seconds and times.train_seconds
            assert times.size_bytes == 4 * model.transformer.parameter_count()


def test_speed_is_measured_last_as_a_share_of_the_bandwidth(load: Load) -> None:
    """One token reads every weight once: tokens a second × bytes over the measured bytes a second."""
    answers = list(device(step_on(load("fp32"), IDS)))
    assert all(getattr(each, "speed", None) is None for each in answers[:-1])
    speed = answers[-1].speed
    assert speed.tokens_per_second > 0
    assert speed.bytes_per_token <= speed.weights_bytes == 4 * load("fp32").transformer.parameter_count()
    bytes_per_second = speed.tokens_per_second * speed.bytes_per_token
    assert speed.bandwidth_share == pytest.approx(bytes_per_second / speed.bandwidth_bytes_per_second)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_parity_equals_the_differences_of_the_logits(dtype: str, load: Load) -> None:
    model, reference = load(dtype), load("fp32")
    parity = last(device(step_on(model, IDS))).parity
    with torch.inference_mode():
        expected = reference.transformer(torch.tensor([IDS]))[0].double()
        logits = model.transformer(torch.tensor([IDS]))[0].double()
    assert parity
    assert parity.positions == 8
    assert parity.max_logit == pytest.approx((expected - logits).abs().max().item(), rel=1e-6)
    p, q = expected.log_softmax(-1), logits.log_softmax(-1)
    assert parity.kl_bits == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item() / math.log(2), rel=1e-6)
    assert parity.top1 == pytest.approx((expected.argmax(-1) == logits.argmax(-1)).double().mean().item())


def test_the_model_in_use_is_not_trained(load: Load) -> None:
    """The training step uses a copy; no parameter requires gradients afterwards."""
    model = load("fp32")
    before = {name: value.clone() for name, value in model.transformer.state_dict().items()}
    with torch.inference_mode():
        answer = last(device(step_on(model, IDS)))
    assert answer.times[0].train_seconds
    assert all(torch.equal(value, before[name]) for name, value in model.transformer.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.transformer.parameters())


def test_packed_weights_are_measured_but_not_trained(smollm2: Callable[[str], models.Model]) -> None:
    """SmolLM2 in 4 bits is near its float32 logits."""
    model = smollm2("int4")
    answer = last(device(step_on(model, model.tokenizer.encode("I prefer oat milk in"))))
    assert answer.parity and 0 < answer.parity.kl_bits < 0.02
    assert answer.times[0].problem == "packed weights cannot be trained"
    assert answer.times[0].forward_seconds
    assert answer.times[0].train_seconds is None
    assert answer.times[0].size_bytes and answer.times[0].size_bytes < 100_000_000


def test_missing_memory_is_named(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    step, tiny = step_on(load("bf16"), IDS), [DeviceInfo("cpu", "A small one", 40_000)]
    monkeypatch.setattr(lens.devices, "devices", lambda: tiny)
    answer = last(device(step))
    assert answer.parity is None
    assert answer.note == "there is not enough memory for the same model in float32"
    assert answer.times[0].problem == "there is not enough memory for a second copy of the model"


def test_each_answer_has_one_more_measurement(load: Load) -> None:
    results = list(device(step_on(load("bf16"), IDS)))
    assert results[0] == Progress(0, len(devices.devices()) + 1)
    answers = [each for each in results if isinstance(each, Devices)]
    assert [each.parity is None for each in answers][:2] == [True, False]
    assert [len(each.times) for each in answers][:5] == [0, 0, 1, 1, 1]
