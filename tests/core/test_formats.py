"""The default number format, the formats that can be chosen, and models that do not fit into memory."""

import subprocess
import sys
from pathlib import Path

import gguf
import pytest
import torch
from gguf_files import write_gguf
from model_folders import rewrite
from reference_models import reference

from core.engine import device
from core.errors import UserError, out_of_memory
from core.formats.gguf import TENSOR_TYPES
from core.loading import catalog, description, models, weights
from core.loading.choice import Hyperparameters, ModelChoice

KEY, BUFFER = "model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"
SIZES = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 83}


def test_the_default_format_depends_on_device_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU: a GGUF file as stored, else fp32, and int8 for floats of 8 bits. CUDA: bf16. Elsewhere: fp32."""
    model = reference("llama", **SIZES)
    cpu, gpu, apple = (torch.device(name) for name in ("cpu", "cuda:0", "mps"))
    model.save_pretrained(tmp_path)
    described = description.describe(tmp_path)
    assert models._usual_dtype(described, cpu) == "fp32"
    rewrite(
        tmp_path, lambda tensors: tensors | {BUFFER: torch.zeros(2, dtype=torch.bool), KEY: tensors[KEY].bfloat16()}
    )
    assert models._usual_dtype(description.describe(tmp_path), cpu) == "fp32"
    rewrite(tmp_path, lambda tensors: tensors | {KEY: tensors[KEY].to(torch.float8_e4m3fn)})
    assert models._usual_dtype(description.describe(tmp_path), cpu) == "int8"
    for kind in ("Q4_1", "Q8_0", "F16"):
        write_gguf(tmp_path / f"{kind}.gguf", model, gguf.GGMLQuantizationType[kind])
        stored = description.describe(tmp_path / f"{kind}.gguf")
        assert (models._usual_dtype(stored, cpu), stored.format) == ("stored", kind)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert (models._usual_dtype(described, gpu), models._usual_dtype(described, apple)) == ("bf16", "fp32")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert models._usual_dtype(described, gpu) == "fp32"
    monkeypatch.undo()
    assert models.load_model(ModelChoice(name="model1", tokenizer="bytes", device="cpu")).info.dtype == "fp32"
    assert models.load_model(ModelChoice(name="smollm2", device="cpu")).info.dtype == "stored"


def test_the_table_of_gguf_tensor_types_equals_the_gguf_packages() -> None:
    """Names, blocks and bytes are those of the gguf package."""
    kinds = {number: gguf.GGMLQuantizationType(number) for number in TENSOR_TYPES}
    assert {number: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for number, kind in kinds.items()} == TENSOR_TYPES


def test_quantized_formats_are_offered_only_for_models_from_files() -> None:
    """GPUs compute no blocks of GGUF as stored. Another model resets a format that it cannot have to `auto`."""
    assert catalog.dtypes("smollm2", "cpu") == ("stored", *device.DTYPES, "int8", "int4")
    assert catalog.dtypes("smollm2", "cuda:0") == (*device.DTYPES, "int8", "int4")
    assert catalog.dtypes("model1", "cuda:0") == catalog.dtypes("model1", "cpu") == tuple(device.DTYPES)
    assert catalog.applicable(ModelChoice(name="smollm2", dtype="int4"), "model5").dtype == "auto"
    assert catalog.applicable(ModelChoice(name="smollm2", dtype="stored"), "gpt2").dtype == "auto"
    assert catalog.applicable(ModelChoice(name="smollm2", dtype="bf16"), "model5").dtype == "bf16"
    assert catalog.applicable(ModelChoice(name="model5", dtype="bf16"), "smollm2").dtype == "bf16"


ERRORS = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total of 8 GiB"), "2.50 GiB"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:122] err == 0. DefaultCPUAllocator: can't allocate memory: "
                  "you tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)"), "4.00 GB"),
    (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB). Tried to allocate 256.00 MB"), "256.00 MB"),
    (MemoryError(), "not enough memory"),
    (RuntimeError("can't start new thread"), "not enough memory"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "size"), ERRORS, ids=["cuda", "cpu", "mps", "python", "thread"])
@pytest.mark.parametrize("name", ["model2", "smollm2"])
def test_a_model_that_does_not_fit_into_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, size: str
) -> None:
    """The line names model, device, the size that was requested and the memory."""

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(models, "random_model", full)
    monkeypatch.setattr(weights, "build_model", full)
    with pytest.raises(UserError) as caught:
        models.load_model(ModelChoice(name=name, device="cpu", changes=Hyperparameters()))
    assert f"{name} does not fit on cpu" in str(caught.value)
    assert size in str(caught.value)
    assert " GB" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_other_errors_are_not_taken_for_missing_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the program is not reported as a user error."""
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert out_of_memory(ValueError("no")) is None

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(models, "random_model", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        models.load_model(ModelChoice(name="model1", tokenizer="bytes", device="cpu"))


def test_the_message_of_the_real_allocator_is_understood() -> None:
    """Torch's own error on this machine."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert "4,000,000.00 GB" in (out_of_memory(error.value) or "")


def test_loading_does_not_import_sympy() -> None:
    """Random initialization on the meta device would import sympy and 800 other modules, 75 MB."""
    code = (
        "import sys; from core.loading.models import load_model; from core.loading.choice import ModelChoice\n"
        "for name in ('smollm2', 'model5-trained'):\n"
        "    load_model(ModelChoice(name=name, device='cpu')); print(name, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout == "smollm2 False\nmodel5-trained False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="no other system says what of a file is in memory")
def test_clean_pages_of_libraries_are_released() -> None:
    """Torch computes as before and reads the pages again that it needs."""
    code = (
        "import re, torch; from pathlib import Path; from core.engine.memory import release_clean_pages\n"
        "held = lambda: int(re.search(r'RssFile:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before, x = held(), torch.arange(100.0); release_clean_pages(); print(held() < before / 2, (x @ x).item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout == "True 328350.0\n"
