"""Whatever is damaged in a file of a model or of a walk, nothing but a user error of one line comes out."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from gguf_files import write_gguf
from mutants import damaged_bytes, damaged_json
from records import plain, text_of
from reference_models import CASES
from tokenizer_files import folder_of, gguf_of, load, trained
from varied_settings import config_class

from core.engine.model import Transformer
from core.errors import UserError
from core.loading import description, weights
from core.loading.families import FAMILIES
from core.sessions import reader

MUTANTS = 30
"""Damaged files of each kind in a run of the tests."""
Act = Callable[[], object]


def survives(act: Act) -> bool:
    """Whether there was no error; one that is not a user error of one line is raised."""
    try:
        act()
    except UserError as error:
        assert str(error)
        assert len(str(error)) < 2000
        return False
    return True


def models(path: Path, file: Path, damage: Callable[[bytes, random.Random], bytes], mutants: int, seed: int) -> int:
    """Load the model at `path` with `file` damaged; returns how many were loaded and computed."""
    whole, numbers, survived = file.read_bytes(), random.Random(seed), 0
    for _ in range(mutants):
        file.write_bytes(damage(whole, numbers))
        survived += survives(lambda: computed(path))
    file.write_bytes(whole)
    return survived


def computed(path: Path) -> Transformer:
    """A model that was loaded and computes."""
    described = description.describe(path)
    if described.config.parameter_count() < 10**7:
        model = weights.build_model(described, torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            model(torch.zeros(1, min(3, described.config.context), dtype=torch.long))


def tokenizers(path: Path, file: Path, damage: Callable[[bytes, random.Random], bytes], mutants: int, seed: int) -> int:
    """Load the tokenizer at `path` with `file` damaged, and use it."""
    whole, numbers, survived = file.read_bytes(), random.Random(seed), 0

    def used() -> None:
        tokenizer = load(path)
        for special in (False, True):
            ids = tokenizer.encode("In 2024 <tool> it's\n\n  3333 ünïcode", special=special)
            b"".join(map(tokenizer.piece, ids))

    for _ in range(mutants):
        file.write_bytes(damage(whole, numbers))
        survived += survives(used)
    file.write_bytes(whole)
    return survived


def json_damage(data: bytes, numbers: random.Random) -> bytes:
    return damaged_json(data.decode(), numbers)


def head_damage(data: bytes, numbers: random.Random) -> bytes:
    return damaged_bytes(data, numbers, 2500)


def sessions(mutants: int, seed: int) -> int:
    text, numbers = text_of(plain()), random.Random(seed)
    return sum(
        survives(lambda: reader.parse_record(damaged_json(text, numbers).decode("utf-8", "replace"), "walk.json"))
        for _ in range(mutants)
    )


@pytest.mark.parametrize("kind", ["model.safetensors", "model.gguf"])
def test_damaged_tables_of_weights(kind: str, llama: Path, mutants: int = MUTANTS, seed: int = 0) -> None:
    path = llama
    if kind == "model.gguf":
        path = llama / kind
        write_gguf(path, transformers.LlamaForCausalLM.from_pretrained(llama))
    survived = models(path, llama / kind, head_damage, mutants, seed)
    assert survived < mutants


@pytest.mark.parametrize("model_type", [each for each in FAMILIES if each != "gemma3"])
def test_damaged_settings(model_type: str, tmp_path: Path, mutants: int = MUTANTS, seed: int = 0) -> None:
    name, values = next(each for each in CASES.values() if config_class(each[0]).model_type == model_type)
    config = config_class(name)(**values)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
    models(tmp_path, tmp_path / "config.json", json_damage, mutants, seed)


@pytest.mark.parametrize("kind", ["tokenizer.json", "gguf"])
def test_damaged_tokenizers(kind: str, tmp_path: Path, mutants: int = MUTANTS, seed: int = 0) -> None:
    library = trained("smollm")
    if kind == "gguf":
        path = gguf_of(tmp_path / "t.gguf", library, "smollm")
        tokenizers(path, path, head_damage, mutants, seed)
    else:
        path = folder_of(library, tmp_path)
        tokenizers(path, path / kind, json_damage, mutants, seed)


def test_damaged_sessions(mutants: int = 5 * MUTANTS, seed: int = 0) -> None:
    assert 0 < sessions(mutants, seed) < mutants
