"""Times are there where a device is; parity is that of the very logits."""

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
from core.loading.models import Model
from core.progress import Progress

CHOICE = ModelChoice(
    name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(embed_dim=16, blocks=2, heads=2)
)
IDS = some_ids(8)
Load = Callable[[str], Model]


@pytest.fixture(scope="module")
def load() -> Load:
    return lambda dtype: models.load_model(replace(CHOICE, dtype=dtype))


def test_float32_on_the_cpu_is_the_reference(load: Load) -> None:
    found: Devices = last(device(step_on(load("fp32"), IDS)))
    assert (found.device, found.dtype, found.tokens, found.parity) == ("cpu", "fp32", 8, None)
    assert "compared" in found.note


def test_every_device_has_its_times_or_its_reason(load: Load) -> None:
    model = load("fp32")
    found = last(device(step_on(model, IDS)))
    assert [each.name for each in found.times] == [info.name for info in devices.devices()]
    for times, info in zip(found.times, devices.devices(), strict=True):
        if info.problem:
            assert times.problem == info.problem
            assert times.create_seconds is times.forward_seconds is times.train_seconds is None
        else:
            assert times.create_seconds and times.forward_seconds and times.train_seconds
            assert times.size_bytes == 4 * model.transformer.parameter_count()


def test_speed_is_measured_last_and_a_share_of_what_the_memory_gives(load: Load) -> None:
    """One token reads every weight once: rate × bytes over the measured bytes a second."""
    answers = list(device(step_on(load("fp32"), IDS)))
    assert all(getattr(each, "speed", None) is None for each in answers[:-1])
    speed = answers[-1].speed
    assert speed.rate > 0
    assert speed.read <= speed.weights == 4 * load("fp32").transformer.parameter_count()
    assert speed.share == pytest.approx(speed.rate * speed.read / speed.bandwidth)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_parity_is_that_of_the_logits(dtype: str, load: Load) -> None:
    model, whole = load(dtype), load("fp32")
    parity = last(device(step_on(model, IDS))).parity
    with torch.inference_mode():
        want = whole.transformer(torch.tensor([IDS]))[0].double()
        got = model.transformer(torch.tensor([IDS]))[0].double()
    assert parity
    assert parity.positions == 8
    assert parity.max_logit == pytest.approx((want - got).abs().max().item(), rel=1e-6)
    p, q = want.log_softmax(-1), got.log_softmax(-1)
    assert parity.kl_bits == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item() / math.log(2), rel=1e-6)
    assert parity.top1 == pytest.approx((want.argmax(-1) == got.argmax(-1)).double().mean().item())


def test_the_model_in_use_stays_as_it_is(load: Load) -> None:
    """Training happens on a copy; nothing asks for gradients afterwards, within inference mode or not."""
    model = load("fp32")
    before = {name: value.clone() for name, value in model.transformer.state_dict().items()}
    with torch.inference_mode():
        found = last(device(step_on(model, IDS)))
    assert found.times[0].train_seconds
    assert all(torch.equal(value, before[name]) for name, value in model.transformer.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.transformer.parameters())


def test_packed_weights_are_measured_but_not_trained() -> None:
    """The real SmolLM2 in 4 bits: near its float32 numbers."""
    model = models.load_model(ModelChoice(name="smollm2", device="cpu", dtype="int4"))
    found = last(device(step_on(model, model.tokenizer.encode("I prefer oat milk in"))))
    assert found.parity and 0 < found.parity.kl_bits < 0.02
    assert found.times[0].problem == "packed weights cannot be trained"
    assert found.times[0].forward_seconds
    assert found.times[0].train_seconds is None
    assert found.times[0].size_bytes and found.times[0].size_bytes < 100_000_000


def test_where_there_is_no_room(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    step, tiny = step_on(load("bf16"), IDS), [DeviceInfo("cpu", "A small one", 40_000)]
    monkeypatch.setattr(lens.devices, "devices", lambda: tiny)
    found = last(device(step))
    assert found.parity is None
    assert found.note == "there is not enough memory for the same model in float32"
    assert found.times[0].problem == "there is not enough memory for a second copy of the model"


def test_answers_grow(load: Load) -> None:
    seen = list(device(step_on(load("bf16"), IDS)))
    assert seen[0] == Progress(0, len(devices.devices()) + 1)
    answers = [each for each in seen if isinstance(each, Devices)]
    assert [each.parity is None for each in answers][:2] == [True, False]
    assert [len(each.times) for each in answers][:5] == [0, 0, 1, 1, 1]
