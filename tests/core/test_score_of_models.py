"""Scores of texts that a tokenizer rewrites, or puts ids and spaces around: bytes are those of the text."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from reference_models import reference
from tokenizer_files import folder_of, pieces_folder, trained

from core.evaluation.score import score
from core.evaluation.values import ScoredText
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.walk.session import Session

TEXT = "Ein Caf\u00e9 f\u00fcr \u00c9va, \u1ea1\u1ebf"
Folder = Callable[[Path], Path]


def model_of(tokenizer: Folder, folder: Path) -> Model:
    """A small random Llama with this tokenizer."""
    reference("llama", vocab_size=1000).save_pretrained(folder)
    says = json.loads((folder / "config.json").read_text())
    tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(says))
    return load_model(ModelChoice(name=str(folder), device="cpu", dtype="fp32"))


def scored(model: Model, text: str) -> ScoredText:
    *_, result = score(model, model.tokenizer.encode(text), text)
    assert isinstance(result, ScoredText)
    return result


def test_bits_per_byte_are_over_the_bytes_of_the_text_that_is_rewritten(tmp_path: Path) -> None:
    """NFC makes one text of two; the longer one has fewer bits a byte, and is said to be rewritten."""
    model = model_of(lambda folder: folder_of(trained("qwen2"), folder), tmp_path)
    nfc, nfd = (scored(model, unicodedata.normalize(form, TEXT)) for form in ("NFC", "NFD"))
    assert nfc.bits == nfd.bits
    assert (nfc.rewritten, nfd.rewritten) == (False, True)
    for form, result in (("NFC", nfc), ("NFD", nfd)):
        given = len(unicodedata.normalize(form, TEXT).encode()) - len(result.first_piece)
        assert result.byte_count == given
        assert result.bits_per_byte == pytest.approx(result.bits / given)


def test_bos_and_the_space_before_a_text_are_no_bytes_of_it(tmp_path: Path) -> None:
    """Every byte of the text is predicted, since BOS stands before it; in the score and in a walk."""
    model = model_of(lambda folder: pieces_folder("llama2", folder), tmp_path)
    result = scored(model, TEXT)
    assert (result.first_piece, result.byte_count, result.rewritten) == (b"<s>", len(TEXT.encode()), False)
    walk = Session(model)
    list(walk.prefill(model.tokenizer.encode(TEXT)))
    list(walk.score())
    assert walk.summary().byte_count == len(TEXT.encode())
    assert walk.turns.prompt() == TEXT


def test_a_guess_continues_the_text(tmp_path: Path) -> None:
    """No BOS and no second space: `the` may be ` the`, ` the` is nothing else."""
    model = model_of(lambda folder: pieces_folder("llama2", folder), tmp_path)
    walk = Session(model)
    list(walk.prefill(model.tokenizer.encode("I prefer")))
    assert walk.guesses.guess(" the").guessed.piece == b" the"
    assert walk.guesses.guess("the").guessed.piece in (b" the", b"the")
