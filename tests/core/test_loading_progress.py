"""Loading reports the bytes it has read, and ends where the report says so."""

from pathlib import Path

import pytest
import torch
from gguf_files import Q, saved, write_gguf
from model_folders import CPU

from core.engine.packed import compiled
from core.loading import description, weights
from core.progress import Cancelled, Loading


@pytest.mark.parametrize("packing", [None, "stored", "int8", "int4"])
def test_every_tensor_is_reported_with_the_bytes_before_it(
    packing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tensors of the file by name, bytes that only grow and stay below their total, in every number format."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path, vocab_size=3000), Q.Q4_0)
    described = description.describe(tmp_path / "m.gguf")
    reports: list[Loading] = []
    monkeypatch.setattr(compiled, "compiles", lambda: False)
    weights.build_model(described, CPU, torch.float32, packing, reports.append)
    assert {report.name for report in reports} == set(described.tensors)
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert done[0] == 0
    assert {report.total for report in reports} == {sum(each.size for each in described.tensors.values())}
    last = described.tensors[reports[-1].name].size
    assert reports[-1].done + last >= reports[-1].total > reports[-1].done
    if packing in ("int8", "int4"):  # quantized in blocks of rows
        assert [report.name for report in reports].count("token_embd.weight") == 3


@pytest.mark.parametrize("packing", [None, "stored"])
def test_code_that_must_be_compiled_is_reported_first(
    packing: str | None, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only packed weights need it."""
    monkeypatch.setattr(compiled, "compiles", lambda: True)
    reports: list[Loading] = []
    weights.build_model(description.describe(llama), CPU, torch.float32, packing, reports.append)
    assert [n for n, report in enumerate(reports) if report.activity == "compiling"] == ([0] if packing else [])


def test_what_a_report_raises_ends_the_loading(llama: Path) -> None:
    """Half-way; no tensor after it is read."""
    reports: list[Loading] = []

    def cancel(report: Loading) -> None:
        reports.append(report)
        if 2 * report.done > report.total:
            raise Cancelled

    described = description.describe(llama)
    with pytest.raises(Cancelled):
        weights.build_model(described, CPU, torch.bfloat16, None, cancel)
    assert 1 < len(reports) < len(described.tensors)
