"""Owns how the present model does on each device here, and how near its numbers are to float32 on the CPU."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.activations.trace import Step
from core.engine import device as devices
from core.engine.info import DeviceInfo
from core.engine.model import Transformer
from core.errors import UserError
from core.evaluation.bench import BenchResult, measure
from core.loading import models
from core.loading.choice import ModelChoice
from core.loading.models import Model
from core.progress import Progress
from core.sampling.divergence import kl_bits
from core.training.dataset import REFERENCE, SequenceDataset

TOKENS = 64
"""Of the step, that are read for a measurement at most."""
DRAWN = 16
"""Tokens that are generated for the speed."""
ROOM = 0.4
"""Share of a device's memory that a second copy of the model, or its training, may take."""


@dataclass(frozen=True, slots=True)
class Times:
    """The model on one device, each time the median of a few runs."""

    name: str
    label: str
    """The maker's name for the device."""
    create_seconds: float | None = None
    """From the choice to a model with weights there."""
    forward_seconds: float | None = None
    """One pass of the step's tokens."""
    train_seconds: float | None = None
    """Forward, backward and AdamW on a batch of 5 sequences of 8 tokens."""
    size_bytes: int | None = None
    """What the weights take, packed as they are."""
    problem: str = ""
    """Why something could not be measured; empty where all was."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the model in use is from the same in float32 on the CPU."""

    positions: int
    """How many next-token distributions were compared."""
    max_logit: float
    """Largest |Δlogit|."""
    kl_bits: float
    """Mean KL(reference ‖ model), in bits."""
    top1: float
    """Share of positions with the same favourite."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices measured so far, and the parity of the one in use."""

    device: str
    dtype: str
    """Of the model in use."""
    tokens: int
    """How many a forward pass read."""
    times: tuple[Times, ...]
    parity: Parity | None
    """None until measured, where the model in use is the reference itself, and where there is no room for that."""
    note: str
    """Why there is no parity; empty where there is one, or will be."""
    speed: BenchResult | None = None
    """Tokens a second of the model in use, and how much of the memory's speed that takes; the last to be measured."""


def device(step: Step) -> Iterator[Progress | Devices]:
    """Parity of the model in use, then creation, forward and training step on every device there is, then speed."""
    model, found = step.model, devices.devices()
    ids = torch.tensor([step.ids[-TOKENS:]])
    total = len(found) + 1
    yield Progress(0, total)
    is_reference = model.info.device == "cpu" and model.info.dtype == "fp32"
    note = "this is float32 on the CPU, what others are compared with" if is_reference else ""
    times: list[Times] = []
    result = Devices(model.info.device, model.info.dtype, ids.shape[1], (), None, note)
    yield result
    if not is_reference:
        if _fits(4 * model.info.parameters, found[0]):
            result = replace(result, parity=_parity(model, ids))
        else:
            result = replace(result, note="there is no room for the same model in float32 beside it")
        yield result
    for number, info in enumerate(found, start=1):
        yield Progress(number, total)
        for measured in _times(model, info, ids):
            result = replace(result, times=(*times, measured))
            yield result
        times.append(measured)
    yield replace(result, speed=measure(model, step.ids[-TOKENS:], DRAWN, runs=2))


def _fits(size: int, info: DeviceInfo) -> bool:
    return info.memory_bytes is None or size < ROOM * info.memory_bytes


@torch.inference_mode()
def _parity(model: Model, ids: Tensor) -> Parity:
    reference = models.load_model(replace(model.choice, device="cpu", dtype="fp32"))
    want = reference.transformer(ids)[0]
    got = model.transformer(ids.to(model.transformer.device))[0].to("cpu", torch.float32)
    return Parity(
        positions=len(want),
        max_logit=(want - got).abs().max().item(),
        kl_bits=statistics.fmean(kl_bits(p, q) for p, q in zip(want, got, strict=True)),
        top1=(want.argmax(-1) == got.argmax(-1)).float().mean().item(),
    )


def _times(model: Model, info: DeviceInfo, ids: Tensor) -> Iterator[Times]:
    """One device, with ever more measured."""
    times = Times(info.name, info.label, problem=info.problem or "")
    size = _size(model.transformer)
    if not times.problem and not _fits(size, info):
        times = replace(times, problem="there is no room for the model a second time")
    if times.problem:
        yield times
        return
    try:
        made, seconds = _create(replace(model.choice, device=info.name))
    except UserError as mistake:
        yield replace(times, problem=str(mistake))
        return
    times = replace(times, create_seconds=seconds, size_bytes=_size(made.transformer))
    yield times
    times = replace(times, forward_seconds=_forward(made.transformer, ids))
    yield times
    if made.info.dtype in devices.PACKED:
        yield replace(times, problem="packed weights cannot be trained")
    elif not _fits(4 * size, info):
        yield replace(times, problem="there is no room to train it")
    else:
        yield replace(times, train_seconds=_train(made))


def _create(choice: ModelChoice) -> tuple[Model, float]:
    """A model and the seconds that took; no inference tensors, so that it can be trained."""
    with torch.inference_mode(mode=False):
        began = time.perf_counter()
        made = models.load_model(choice)
        _wait(made.transformer)
        return made, time.perf_counter() - began


@torch.inference_mode()
def _forward(transformer: Transformer, ids: Tensor) -> float:
    there = ids.to(transformer.device)

    def run() -> None:
        transformer(there)
        _wait(transformer)

    return _median(run)


def _size(transformer: Transformer) -> int:
    """Bytes of parameters and buffers, each once."""
    every = {id(each): each.nbytes for each in (*transformer.parameters(), *transformer.buffers())}
    return sum(every.values())


def _train(model: Model) -> float:
    """Seconds of one training step, on a model that is thrown away afterwards."""
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
    """Let a device that works on its own finish."""
    kind = transformer.device.type
    if kind == "cuda":
        torch.cuda.synchronize(transformer.device)
    elif kind == "mps":
        torch.mps.synchronize()


def _median(run: Callable[[], object]) -> float:
    """Seconds of a run: the median of up to five within half a second; the first one, which warms up, only if slow."""
    spent: list[float] = []
    while len(spent) < 6 and sum(spent) < 0.5:
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:] or spent)
