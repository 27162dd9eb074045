"""The devices of this machine, and the number formats that a model can compute in."""

import os
import platform
from pathlib import Path

import torch

from core.engine.info import PACKED, DeviceInfo
from core.errors import UserError
from core.language import _

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AMPERE = (8, 0)
"""The compute capability from which CUDA GPUs compute in bf16 and have torch's 4-bit kernel."""


def devices() -> list[DeviceInfo]:
    """Every device that could be chosen: the CPU, each CUDA GPU, MPS. Those that cannot be used say why."""
    return [DeviceInfo("cpu", _cpu_name(), _cpu_memory()), *_cuda(), _mps()]


def resolve(name: str) -> torch.device:
    """The device called `name`; `auto` prefers cuda, then mps, then cpu. Raises `UserError` for any other."""
    known = {info.name: info for info in devices()}
    if name == "auto":
        usable = [info.name for info in known.values() if not info.problem]
        name = next((n for kind in ("cuda", "mps", "cpu") for n in usable if n.startswith(kind)), "cpu")
    wanted = "cuda:0" if name == "cuda" and "cuda:0" in known else name
    absent = known.get(name.partition(":")[0])
    if wanted not in known and absent and absent.problem:
        wanted = absent.name
    if wanted not in known:
        raise UserError(
            _("{name!r} is not a device here; choose auto, {choices}"),
            name=name,
            choices=", ".join(i.name for i in known.values() if not i.problem),
        )
    if problem := known[wanted].problem:
        raise UserError(_("the device {name} cannot be used here: {problem}"), name=name, problem=problem)
    return torch.device(wanted)


def dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of hidden states in the format called `name`. Raises `UserError` where `device` cannot use it."""
    if name == "int4" and half(device) is torch.float16:
        raise UserError(
            _("{device} has no kernel for int4 (compute capability 8.0 or later has one); choose int8 or fp16"),
            device=device,
        )
    if name in PACKED:
        return torch.float32 if device.type == "cpu" else half(device)
    if name not in DTYPES:
        raise UserError(
            _("{name!r} is not a dtype; choose auto, {choices}"), name=name, choices=", ".join((*DTYPES, *PACKED))
        )
    if name == "bf16" and half(device) is torch.float16:
        raise UserError(_("{device} cannot compute in bf16; choose fp16 or fp32"), device=device)
    return DTYPES[name]


def half(device: torch.device) -> torch.dtype:
    """The 16-bit dtype of a GPU: bf16, which has the range of fp32, or fp16 on one without it."""
    old = device.type == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability(device) < AMPERE
    return torch.float16 if old else torch.bfloat16


def dtype_name(value: torch.dtype) -> str:
    """The short name of a torch dtype, such as `bf16`."""
    return next((name for name, dtype in DTYPES.items() if dtype is value), str(value).removeprefix("torch."))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _cpu_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cuda() -> list[DeviceInfo]:
    if not torch.backends.cuda.is_built():
        return [DeviceInfo("cuda", "NVIDIA GPU", None, _("this build of torch has no CUDA"))]
    if not torch.cuda.is_available():
        return [DeviceInfo("cuda", "NVIDIA GPU", None, _("torch finds no NVIDIA driver or no GPU"))]
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [DeviceInfo(f"cuda:{i}", gpu.name, gpu.total_memory) for i, gpu in enumerate(found)]


def _mps() -> DeviceInfo:
    if not torch.backends.mps.is_built():
        return DeviceInfo("mps", "Apple GPU", None, _("this build of torch has no Metal"))
    if not torch.backends.mps.is_available():
        return DeviceInfo("mps", "Apple GPU", None, _("it needs macOS 12.3 or later on Apple hardware"))
    return DeviceInfo("mps", "Apple GPU", int(torch.mps.recommended_max_memory()))
