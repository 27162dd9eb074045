"""A GGUF model in parts, as llama.cpp's gguf-split writes them, is one model."""

import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import transformers
from gguf_files import write_gguf
from model_folders import build, equal, refusal

from core.loading import catalog, description, listing


def split(whole: Path, folder: Path, count: int = 3, name: str = "m", first_is_empty: bool = False) -> list[Path]:
    """Write the parts of `whole` by gguf-py: all metadata in the first, some tensors in each."""
    read = gguf.GGUFReader(whole)
    paths = [folder / f"{name}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    holders = count - 1 if first_is_empty else count
    for number, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            for key, field in read.fields.items():
                if key.startswith("llama."):
                    writer.add_key_value(key, field.contents(), field.types[0])
        writer.add_key_value("split.no", number, gguf.GGUFValueType.UINT16)
        writer.add_key_value("split.count", count, gguf.GGUFValueType.UINT16)
        writer.add_key_value("split.tensors.count", len(read.tensors), gguf.GGUFValueType.INT32)
        for index, tensor in enumerate(read.tensors):
            if index % holders == number - (count - holders):
                writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


@pytest.fixture(scope="module")
def whole(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "m.gguf"
    write_gguf(path, transformers.LlamaForCausalLM.from_pretrained(llama_folder))
    return path


@pytest.mark.parametrize("first_is_empty", [False, True])
def test_the_parts_are_the_whole_model_whichever_is_named(whole: Path, first_is_empty: bool, tmp_path: Path) -> None:
    """Also where the first part has metadata only."""
    expected = build(whole)
    for path in split(whole, tmp_path, first_is_empty=first_is_empty):
        assert equal(build(path), expected)
        assert description.read_metadata(path)[1] == 61


def test_missing_parts_are_named(whole: Path, tmp_path: Path) -> None:
    """One by its name, several by their number."""
    paths = split(whole, tmp_path)
    paths[1].unlink()
    assert (
        f"{paths[0].name} is one of 3 parts of a model, and 1 of them are missing, such as {paths[1].name}"
        in refusal(paths[0])
    )
    paths[0].unlink()
    assert f"2 of them are missing, such as {paths[0].name}" in refusal(paths[2])


def test_parts_of_different_models_are_refused(whole: Path, tmp_path: Path) -> None:
    """A part that is another by its own count, a part too often, a part that was renamed."""
    paths = split(whole, tmp_path)
    other = split(whole, tmp_path, 2, "other")
    shutil.copy(other[1], paths[1])
    assert f"{paths[1].name}: split.count is 2" in refusal(paths[0])
    shutil.copy(paths[0], paths[1])
    assert f"{paths[1].name}: split.no is 0" in refusal(paths[0])
    renamed = tmp_path / "renamed.gguf"
    shutil.copy(other[1], renamed)
    assert "renamed.gguf is one of 2 parts of a model, but its name does not say which" in refusal(renamed)
    shutil.copy(whole, tmp_path / "w-00001-of-00001.gguf")
    assert equal(build(tmp_path / "w-00001-of-00001.gguf"), build(whole))


def test_the_list_has_the_parts_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the size of all; without a part, with its name; without the first, by the first that is there."""
    monkeypatch.chdir(tmp_path)
    paths = split(whole, tmp_path)
    (found,) = (offer for offer in listing.offers() if offer.description == "in the working folder")
    assert found.name == f".{os.sep}{paths[0].name}"
    assert found.size_bytes == sum(path.stat().st_size for path in paths)
    assert found.problem is None
    paths[0].unlink()
    (found,) = (offer for offer in listing.offers() if offer.description == "in the working folder")
    assert found.name == f".{os.sep}{paths[1].name}"
    assert found.problem == f"1 of 3 files are missing, such as {paths[0].name}"


@pytest.mark.parametrize("count", [1, 3])
def test_files_may_be_links_to_files_of_other_names(whole: Path, count: int, tmp_path: Path) -> None:
    """As in the Hub's cache, where the name leads to a file that is called by its checksum."""
    (tmp_path / "blobs").mkdir()
    paths = split(whole, tmp_path, count=count)
    for number, path in enumerate(paths):
        shutil.move(path, tmp_path / "blobs" / f"e3b0c442{number}")
        path.symlink_to(Path("blobs") / f"e3b0c442{number}")
    location = catalog.find(str(paths[-1]))
    assert location
    assert equal(build(location.path), build(whole))
