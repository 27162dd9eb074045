"""Times the present model on each device of this machine, and compares its logits with float32 on the CPU."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.activations.trace import Step
from core.engine import device as devices
from core.engine.info import PACKED, DeviceInfo
from core.engine.model import Transformer
from core.errors import UserError
from core.evaluation.bench import BenchResult, measure
from core.language import _
from core.loading import models
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.progress import Progress
from core.sampling.divergence import kl_bits
from core.training.dataset import REFERENCE, SequenceDataset

TOKENS = 64
"""Tokens of the step that a measurement reads, at most."""
GENERATED = 16
"""Tokens that are generated to measure the speed."""
MEMORY_SHARE = 0.4
"""Share of a device's memory that a second copy of the model, or its training, may take."""


@dataclass(frozen=True, slots=True)
class DeviceTimes:
    """Times of the model on one device, in seconds, each the median of a few runs; None where not measured."""

    name: str
    label: str
    """The manufacturer's name of the device."""
    create_seconds: float | None = None
    """Building the model with its weights on the device."""
    forward_seconds: float | None = None
    """One forward pass over the step's tokens."""
    train_seconds: float | None = None
    """Forward, backward and AdamW on a batch of 5 sequences of 8 tokens."""
    size_bytes: int | None = None
    """Memory of parameters and buffers; of packed weights, of the packed form."""
    problem: str = ""
    """Why something could not be measured; empty where everything was."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the model in use is from the same model in float32 on the CPU."""

    positions: int
    """How many next-token distributions were compared."""
    max_logit: float
    """Largest |Δlogit|."""
    kl_bits: float
    """Mean KL(reference ‖ model), in bits."""
    top1: float
    """Share of positions with the same argmax."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices measured so far, and the parity of the one in use."""

    device: str
    dtype: str
    """Of the model in use."""
    tokens: int
    """Tokens in the timed forward pass."""
    times: tuple[DeviceTimes, ...]
    parity: Parity | None
    """None until measured, where the model in use is the reference, and where memory for the reference is missing."""
    note: str
    """Why there is no parity; empty where there is one or will be."""
    speed: BenchResult | None = None
    """Generation speed of the model in use and its share of the memory bandwidth; measured last."""


def device(step: Step) -> Iterator[Progress | Devices]:
    """Parity of the model in use, then the times of every device of the machine, then the speed of the model in use."""
    model, found = step.model, devices.devices()
    ids = torch.tensor([step.ids[-TOKENS:]])
    total = len(found) + 1
    yield Progress(0, total)
    is_reference = model.info.device == "cpu" and model.info.dtype == "fp32"
    note = _("this is float32 on the CPU, what others are compared with") if is_reference else ""
    times: list[DeviceTimes] = []
    result = Devices(model.info.device, model.info.dtype, ids.shape[1], (), None, note)
    yield result
    if not is_reference:
        if _fits(4 * model.info.parameters, found[0]):
            result = replace(result, parity=_parity(model, ids))
        else:
            result = replace(result, note=_("there is not enough memory for the same model in float32"))
        yield result
    for number, info in enumerate(found, start=1):
        yield Progress(number, total)
        for measured in _times(model, info, ids):
            result = replace(result, times=(*times, measured))
            yield result
        times.append(measured)
    yield replace(result, speed=measure(model, step.ids[-TOKENS:], GENERATED, runs=2))


def _fits(size: int, info: DeviceInfo) -> bool:
    return info.memory_bytes is None or size < MEMORY_SHARE * info.memory_bytes


@torch.inference_mode()
def _parity(model: Model, ids: Tensor) -> Parity:
    reference = models.load_model(replace(model.choice, device="cpu", dtype="fp32"))
    expected = reference.transformer(ids)[0]
    logits = model.transformer(ids.to(model.transformer.device))[0].to("cpu", torch.float32)
    return Parity(
        positions=len(expected),
        max_logit=(expected - logits).abs().max().item(),
        kl_bits=statistics.fmean(kl_bits(p, q) for p, q in zip(expected, logits, strict=True)),
        top1=(expected.argmax(-1) == logits.argmax(-1)).float().mean().item(),
    )


def _times(model: Model, info: DeviceInfo, ids: Tensor) -> Iterator[DeviceTimes]:
    """The times on one device, each answer with one more of them."""
    times = DeviceTimes(info.name, info.label, problem=info.problem or "")
    size = _size(model.transformer)
    if not times.problem and not _fits(size, info):
        times = replace(times, problem=_("there is not enough memory for a second copy of the model"))
    if times.problem:
        yield times
        return
    try:
        copy, seconds = _create(replace(model.choice, device=info.name))
    except UserError as error:
        yield replace(times, problem=str(error))
        return
    times = replace(times, create_seconds=seconds, size_bytes=_size(copy.transformer))
    yield times
    times = replace(times, forward_seconds=_forward(copy.transformer, ids))
    yield times
    if copy.info.dtype in PACKED:
        yield replace(times, problem=_("packed weights cannot be trained"))
    elif not _fits(4 * size, info):
        yield replace(times, problem=_("there is not enough memory to train it"))
    else:
        yield replace(times, train_seconds=_train(copy))


def _create(choice: ModelChoice) -> tuple[Model, float]:
    """A model and the seconds to build it. Its tensors are no inference tensors, so that it can be trained."""
    with torch.inference_mode(mode=False):
        began = time.perf_counter()
        model = models.load_model(choice)
        _wait(model.transformer)
        return model, time.perf_counter() - began


@torch.inference_mode()
def _forward(transformer: Transformer, ids: Tensor) -> float:
    ids = ids.to(transformer.device)

    def run() -> None:
        transformer(ids)
        _wait(transformer)

    return _median(run)


def _size(transformer: Transformer) -> int:
    """Bytes of parameters and buffers, each counted once."""
    tensors = {id(each): each.nbytes for each in (*transformer.parameters(), *transformer.buffers())}
    return sum(tensors.values())


def _train(model: Model) -> float:
    """Seconds of one training step; it changes the weights of `model`."""
    transformer, length = model.transformer, min(8, model.info.context)
    with torch.inference_mode(mode=False), torch.enable_grad():
        inputs, targets = SequenceDataset(model.tokenizer.encode(REFERENCE), length).batch(0, 5)
        inputs, targets = inputs.to(transformer.device), targets.to(transformer.device)
        transformer.train().requires_grad_()
        optimizer = torch.optim.AdamW(transformer.parameters(), lr=1e-3, fused=True)

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(transformer(inputs).flatten(0, 1), targets.flatten()).backward()
            optimizer.step()
            _wait(transformer)

        return _median(step)


def _wait(transformer: Transformer) -> None:
    """Wait until an asynchronous device has finished."""
    kind = transformer.device.type
    if kind == "cuda":
        torch.cuda.synchronize(transformer.device)
    elif kind == "mps":
        torch.mps.synchronize()


def _median(run: Callable[[], object]) -> float:
    """Seconds of a run: the median of up to five runs within half a second, without the first, which warms up.

    A first run that takes half a second alone is the answer.
    """
    spent: list[float] = []
    while len(spent) < 6 and sum(spent) < 0.5:
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:] or spent)
