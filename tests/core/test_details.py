"""What is told about a loaded model, against what gguf-py, safetensors and torch say of the same files and modules."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from safetensors.torch import load_file

from core.loading import catalog
from core.loading.choice import ModelChoice
from core.loading.details import details
from core.loading.model import Model
from core.loading.models import load_model


def test_number_formats_are_those_of_the_gguf_file(smollm2_file: gguf.GGUFReader) -> None:
    """Tensors, parameters and bytes of each; all of them lie in the mapped file."""
    location = catalog.find("smollm2")
    assert location
    tensors = smollm2_file.tensors
    found = details(load_model(ModelChoice(name="smollm2", device="cpu")))
    names = {"F32": "fp32"}
    for field, of in (
        ("tensors", lambda _: 1),
        ("parameters", lambda t: t.n_elements),
        ("size_bytes", lambda t: t.n_bytes),
    ):
        sums: Counter[str] = Counter()
        for tensor in tensors:
            sums[names.get(tensor.tensor_type.name, tensor.tensor_type.name)] += int(of(tensor))
        assert {each.name: getattr(each, field) for each in found.formats} == dict(sums)
    assert sum(each.parameters for each in found.formats) == found.info.parameters
    assert found.mapped_bytes in (None, found.weights_bytes)
    assert found.files == ((str(location.path), location.path.stat().st_size),)
    assert found.tokenizer.kind == "byte-level BPE"
    assert {each.text for each in found.tokenizer.special if "stop" in each.uses} >= {"<|im_end|>", "<|endoftext|>"}
    assert found.tokenizer.template


def test_smollm2_has_one_name(tmp_path: Path) -> None:
    """By its path too, in model and tokenizer; a copy of the file is another model."""
    location = catalog.find("smollm2")
    assert location
    model = load_model(ModelChoice(name=str(location.path), device="cpu"))
    assert (model.info.name, model.choice.name, model.tokenizer.name) == ("smollm2",) * 3
    copy = tmp_path / "mine.gguf"
    shutil.copyfile(location.path, copy)
    assert load_model(ModelChoice(name=str(copy), device="cpu")).info.name == str(copy)


def test_a_rung_has_no_files() -> None:
    """Its numbers are torch's."""
    model = load_model(ModelChoice(name="model5", tokenizer="bytes", device="cpu"))
    found = details(model)
    weights = list(model.transformer.parameters())
    (only,) = found.formats
    assert (only.name, only.tensors) == ("fp32", len(weights))
    assert only.size_bytes == sum(each.nbytes for each in weights)
    assert (found.files, found.adapter, found.engine, found.product_threads) == ((), None, None, 0)
    assert found.tokenizer.kind == "bytes"


def test_an_adapter_is_counted(chat_model: Path, adapter: Path) -> None:
    """Its numbers are those of the file, also where it is turned off."""
    numbers = load_file(adapter / "adapter_model.safetensors")
    for scale in (0.5, 0.0):
        choice = ModelChoice(name=str(chat_model), device="cpu", dtype="fp32", lora=str(adapter), lora_scale=scale)
        found = details(load_model(choice)).adapter
        assert found
        assert (found.source, found.scale) == (str(adapter), scale)
        assert found.parameters == sum(each.numel() for each in numbers.values())
        assert found.modules == len({name.partition(".lora_")[0] for name in numbers})


@pytest.mark.parametrize("dtype", ["int8", "fp32", "bf16"])
def test_converted_weights_are_not_mapped(dtype: str, smollm2: Callable[[str], Model]) -> None:
    """A format other than that of the file is memory of the process."""
    found = details(smollm2(dtype))
    assert found.mapped_bytes is None or found.mapped_bytes < 0.01 * found.weights_bytes
    assert found.formats[0].name == {"int8": "Q8_0"}.get(dtype, dtype)
