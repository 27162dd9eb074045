"""Devices and number formats: which are listed, why some cannot be used, and what `auto` chooses."""

import pytest
import torch

from core.engine import device
from core.engine.info import PACKED, DeviceInfo
from core.errors import UserError

CPU = DeviceInfo("cpu", "a processor", 2**34)
GPUS = [DeviceInfo("cuda:0", "a GPU", 2**33), DeviceInfo("cuda:1", "another GPU", 2**33)]
NO_CUDA = DeviceInfo("cuda", "NVIDIA GPU", None, "no driver")
MPS = DeviceInfo("mps", "Apple GPU", 2**33)
NO_MPS = DeviceInfo("mps", "Apple GPU", None, "no Metal")


def refusal(name: str) -> str:
    with pytest.raises(UserError) as error:
        device.resolve(name)
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def test_the_cpu_is_always_usable() -> None:
    """It is listed first, with its name and its memory."""
    first = device.devices()[0]
    assert (first.name, first.problem) == ("cpu", None)
    assert first.label
    assert first.memory_bytes is None or first.memory_bytes > 2**28
    assert device.resolve("cpu") == torch.device("cpu")


def test_every_kind_is_listed_usable_or_with_a_reason() -> None:
    """cpu, cuda and mps are listed; a usable one can hold a tensor, another gives its reason in one line."""
    listed = device.devices()
    assert {info.name.partition(":")[0] for info in listed} == {"cpu", "cuda", "mps"}
    for info in listed:
        assert info.label
        if info.problem is None:
            assert torch.ones(1, device=device.resolve(info.name)).item() == 1
        else:
            assert len(info.problem.splitlines()) == 1
            assert info.problem in refusal(info.name)


def test_cuda_is_listed_as_torch_sees_it() -> None:
    """One entry per GPU with its index, or one entry with the reason."""
    names = [info.name for info in device.devices() if info.name.startswith("cuda")]
    assert names == [f"cuda:{i}" for i in range(torch.cuda.device_count())] or names == ["cuda"]


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        ([CPU, NO_CUDA, NO_MPS], "cpu"),
        ([CPU, NO_CUDA, MPS], "mps"),
        ([CPU, *GPUS, NO_MPS], "cuda:0"),
        ([CPU, *GPUS, MPS], "cuda:0"),
    ],
)
def test_auto_prefers_cuda_then_mps_then_the_cpu(
    listed: list[DeviceInfo], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the usable devices."""
    monkeypatch.setattr(device, "devices", lambda: listed)
    assert device.resolve("auto") == torch.device(chosen)


def test_gpus_are_chosen_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cuda` is the first GPU."""
    monkeypatch.setattr(device, "devices", lambda: [CPU, *GPUS, NO_MPS])
    assert device.resolve("cuda") == torch.device("cuda:0")
    assert device.resolve("cuda:1") == torch.device("cuda:1")
    assert "cuda:2" in refusal("cuda:2")
    assert "no Metal" in refusal("mps")


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cpu:0", "tpu\nx"])
def test_an_unknown_device_is_a_user_error(name: str) -> None:
    """Its line names the devices that can be chosen."""
    assert "auto" in refusal(name)
    assert "cpu" in refusal(name)


def test_an_unusable_device_is_a_user_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for CUDA where there is none says why there is none."""
    monkeypatch.setattr(device, "devices", lambda: [CPU, NO_CUDA, NO_MPS])
    assert "no driver" in refusal("cuda")
    assert "no driver" in refusal("cuda:1")
    assert "no Metal" in refusal("mps")


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_number_formats_have_short_names(name: str, dtype: torch.dtype) -> None:
    """The name gives the dtype, and the dtype the name."""
    assert device.dtype(name, torch.device("cpu")) is dtype
    assert device.dtype_name(dtype) == name


@pytest.mark.parametrize("name", ["", "float32", "fp64", "int2"])
def test_an_unknown_number_format_is_a_user_error(name: str) -> None:
    """Its line names the formats that can be chosen."""
    with pytest.raises(UserError) as error:
        device.dtype(name, torch.device("cpu"))
    assert all(known in str(error.value) for known in device.DTYPES)
    assert len(str(error.value).splitlines()) == 1


def test_bf16_on_a_gpu_without_it_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 on the same GPU is allowed, and so is bf16 on the CPU. What torch emulates there is not offered."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UserError) as error:
        device.dtype("bf16", torch.device("cuda:0"))
    assert "bf16" in str(error.value)
    assert device.dtype("fp16", torch.device("cuda:0")) is torch.float16
    assert device.dtype("bf16", torch.device("cpu")) is torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "half"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_quantized_weights_have_states_in_16_bits_on_a_gpu(
    capability: tuple[int, int], half: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 on the CPU; int4 needs a kernel that older GPUs lack. Weights of a GGUF file become 16 bits there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    gpu, apple, cpu = torch.device("cuda:0"), torch.device("mps"), torch.device("cpu")
    assert {device.dtype(name, cpu) for name in PACKED} == {torch.float32}
    assert {device.dtype(name, apple) for name in PACKED} == {torch.bfloat16}
    assert {device.dtype(name, gpu) for name in ("int8", "stored")} == {half}
    if half is torch.bfloat16:
        assert device.dtype("int4", gpu) is half
    else:
        with pytest.raises(UserError, match="int8 or fp16"):
            device.dtype("int4", gpu)
