"""Tokenizers from a model's own files: the ids of the reference tokenizer on hostile text, beginnings, broken files."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from texts import HALVES, HOSTILE
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Reference

from core.errors import UserError
from core.loading import tokenizers
from core.tokenizers.byte_level import ModelTokenizer
from core.tokenizers.split_patterns import LLAMA3, QWEN2

CORPUS = [*HOSTILE, Path(__file__).read_text(encoding="utf-8"), *(str(n**5) + " × " for n in range(2000))]
LETTERS = "abcdetT 's\n\t 0192٣½²Ⅷéßạ日本\u0301\u0338\u200b👩‍🚀\x04\xff\x85\u00a0\u2028<|im_start|>.,!-_\r"


def texts() -> list[str]:
    """Hostile text, and random text of characters on which tokenizers differ."""
    numbers = random.Random(0)
    mixed = ["".join(numbers.choice(LETTERS) for _ in range(numbers.randrange(1, 30))) for _ in range(300)]
    planes = [(0x20, 0x7F), (0x80, 0x3000), (0x3000, 0xD800), (0xE000, 0x110000)]
    wild = ["".join(chr(numbers.randrange(*numbers.choice(planes))) for _ in range(12)) for _ in range(300)]
    return [*HOSTILE, *mixed, *wild]


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])


CUTS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "gpt-2-space": lambda: pre_tokenizers.ByteLevel(add_prefix_space=True),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: split(LLAMA3),
    "qwen2": lambda: split(QWEN2),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def trained(kind: str, *, first: bool = False, alphabet: bool = True) -> Reference:
    """A small byte-level BPE of the tokenizers library; special tokens have the first ids (`first`) or the last."""
    reference = Reference(models.BPE(unk_token=None if alphabet else SPECIAL[0]))
    reference.pre_tokenizer = CUTS[kind]()
    reference.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        reference.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        special_tokens=SPECIAL if first else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
    )
    reference.train_from_iterator(CORPUS if alphabet else [Path(__file__).read_text(encoding="utf-8")], trainer)
    reference.add_special_tokens(SPECIAL)
    reference.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return reference


def folder_of(reference: Reference, folder: Path, **config: Any) -> Path:
    reference.save(str(folder / "tokenizer.json"))
    says = {"model_type": "llama", "vocab_size": reference.get_vocab_size() + 3}
    (folder / "config.json").write_text(json.dumps(says))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def load(path: Path) -> ModelTokenizer:
    return tokenizers.load_model_tokenizer(path, "theirs")


def agree(reference: Reference, ours: ModelTokenizer) -> None:
    for text in texts():
        for special in (False, True):
            reference.encode_special_tokens = not special
            expected = reference.encode(text, add_special_tokens=False).ids
            assert ours.encode(text, special=special) == expected, ascii(text)


@pytest.mark.parametrize("first", [False, True], ids=["special last", "special first"])
@pytest.mark.parametrize("kind", CUTS)
def test_ids_equal_those_of_the_tokenizers_library(kind: str, first: bool, tmp_path: Path) -> None:
    """For every split pattern, whether or not ids equal merge ranks; special tokens as text and as tokens."""
    reference = trained(kind, first=first)
    agree(reference, load(folder_of(reference, tmp_path)))


def test_bytes_without_a_token_get_the_unknown_id(tmp_path: Path) -> None:
    """A vocabulary without some bytes."""
    reference = trained("smollm", first=True, alphabet=False)
    ours = load(folder_of(reference, tmp_path))
    agree(reference, ours)
    assert ours.encode("\x1c") == [ours.encode(SPECIAL[0], special=True)[0]]


def test_vocab_json_and_merges_txt_are_read(tmp_path: Path) -> None:
    """GPT-2's older file layout."""
    reference = trained("gpt-2")
    reference.model.save(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": reference.get_vocab_size()}))
    ours = load(tmp_path)
    reference.encode_special_tokens = True
    for text in texts():
        assert ours.encode(text) == reference.encode(text.replace("<tool>", "")).ids


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path: Path) -> None:
    """As in every tokenizer here."""
    ours = load(folder_of(trained("gpt-2"), tmp_path))
    for text in HALVES:
        ids = ours.encode(text)
        assert ours.text(ids) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_every_id_below_v_has_a_piece(tmp_path: Path) -> None:
    """V is the model's: ids without a token show their number, ids outside V are refused."""
    reference = trained("gpt-2", first=True)
    ours = load(folder_of(reference, tmp_path))
    count = reference.get_vocab_size()
    assert ours.vocab_size == count + 3
    assert ours.piece(count).startswith(b"<|unused")
    assert {ours.piece(id) for id in range(3)} == {name.encode() for name in SPECIAL}
    text = "日本 👩‍🚀 I prefer oat milk"
    assert b"".join(map(ours.piece, ours.encode(text))) == text.encode()
    with pytest.raises(UserError):
        ours.piece(count + 3)


@pytest.mark.parametrize(
    ("config", "want"),
    [
        ({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, "<|im_start|>"),
        ({"bos_token": {"content": "<|im_end|>"}}, "<|im_end|>"),
        ({"bos_token": None, "eos_token": "<|im_end|>"}, "<|im_end|>"),
        ({}, "<|endoftext|>"),
    ],
)
def test_an_empty_text_starts_from_bos_else_eos(config: dict[str, Any], want: str, tmp_path: Path) -> None:
    """From BOS, else EOS, else <|endoftext|>."""
    ours = load(folder_of(trained("gpt-2"), tmp_path, **config))
    assert ours.piece(ours.end_of_text) == want.encode()


def test_bos_is_put_before_every_text_once(tmp_path: Path) -> None:
    """As the post-processor says; also before an empty text; not again where the text begins with it."""
    reference = trained("llama-bpe")
    begin = reference.token_to_id("<|im_start|>")
    reference.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|im_start|> $A", pair="<|im_start|> $A $B", special_tokens=[("<|im_start|>", begin)]
            ),
        ]
    )
    ours = load(folder_of(reference, tmp_path))
    assert ours.encode("oat milk") == reference.encode("oat milk").ids
    assert ours.encode("oat milk")[0] == begin
    assert ours.encode("") == [begin]
    assert ours.encode("<|im_start|>x", special=True) == ours.encode("x")
    assert ours.encode("<|im_start|>x") != ours.encode("x")


def test_ignore_merges_takes_whole_tokens(tmp_path: Path) -> None:
    """A token that no merges lead to."""
    reference = trained("llama-bpe")
    path = folder_of(reference, tmp_path) / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["ignore_merges"] = True
    values["model"]["vocab"]["qzqzq"] = 700
    for added in values["added_tokens"]:
        added["id"] += 1
    path.write_text(json.dumps(values))
    reference = Reference.from_file(str(path))
    ours = load(tmp_path)
    assert ours.encode("qzqzq") == [700]
    agree(reference, ours)


def gguf_of(path: Path, reference: Reference, pre: str, **says: Any) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    names = sorted(reference.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    added = reference.get_added_tokens_decoder()
    kinds = [1 if id not in added else 3 if added[id].special else 4 for _, id in names]
    writer.add_tokenizer_model(says.pop("model", "gpt2"))
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([name for name, _ in names])
    writer.add_token_types(kinds)
    merges = json.loads(reference.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    for key, value in says.items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, gguf.GGUFValueType.get_type(value))
    writer.add_tensor("token_embd.weight", np.zeros((len(names) + 2, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["gpt-2", "smollm", "qwen2"])
def test_a_gguf_file_has_the_same_tokenizer(kind: str, tmp_path: Path) -> None:
    """Tokens, types and merges are in the metadata; V is the number of rows of the embedding."""
    reference = trained(kind, first=True)
    ours = load(gguf_of(tmp_path / "m.gguf", reference, kind, bos_token_id=1, eos_token_id=2))
    agree(reference, ours)
    assert ours.vocab_size == reference.get_vocab_size() + 2
    assert ours.end_of_text == 1


@pytest.mark.parametrize(
    ("pre", "says", "begins"),
    [
        ("llama-bpe", {}, True),
        ("llama-bpe", {"add_bos_token": False}, False),
        ("gpt-2", {}, False),
        ("gpt-2", {"add_bos_token": True}, True),
    ],
)
def test_gguf_metadata_decides_whether_bos_is_added(
    pre: str, says: dict[str, Any], begins: bool, tmp_path: Path
) -> None:
    """Where it does not say, only Llama 3's pre-tokenizer adds BOS."""
    ours = load(gguf_of(tmp_path / "m.gguf", trained(pre), pre, bos_token_id=5, **says))
    assert ours.encode("x")[:1] == ([5] if begins else ours.encode("x")[:1])
    assert len(ours.encode("x")) == 1 + begins


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_unsupported_kinds_of_tokenizers_are_named(tmp_path: Path) -> None:
    """SentencePiece in each file layout, WordPiece, an unknown split."""
    reference = trained("gpt-2")
    assert "SentencePiece" in refusal(gguf_of(tmp_path / "a.gguf", reference, "default", model="llama"))
    assert "'tekken'" in refusal(gguf_of(tmp_path / "b.gguf", reference, "tekken"))
    folder = tmp_path / "folder"
    folder.mkdir()
    reference.pre_tokenizer = pre_tokenizers.Metaspace()
    folder_of(reference, folder)
    assert "SentencePiece" in refusal(folder)
    reference.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), CUTS["gpt-2"]()])
    other = tmp_path / "other"
    other.mkdir()
    assert "Punctuation" in refusal(folder_of(reference, other))
    word_piece = tmp_path / "words"
    word_piece.mkdir()
    assert "WordPiece" in refusal(folder_of(Reference(models.WordPiece({"a": 0}, unk_token="a")), word_piece))
    (word_piece / "tokenizer.json").unlink()
    (word_piece / "tokenizer.model").write_bytes(b"x")
    tokenizers.load_model_tokenizer.cache_clear()
    assert "SentencePiece" in refusal(word_piece)
    (word_piece / "tokenizer.model").unlink()
    assert "tokenizer.json" in refusal(word_piece)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values["model"].pop("merges"),
        lambda values: values["model"].update(merges=[["a"]]),
        lambda values: values["model"].update(merges=[["q", "zz"]]),
        lambda values: values["model"].update(vocab=[]),
        lambda values: values.update(added_tokens=[{}]),
        lambda values: values.update(model=None),
        lambda values: values["model"].update(type=3),
        lambda values: values.update(pre_tokenizer={"type": "ByteLevel", "use_regex": False}),
    ],
)
def test_a_corrupt_tokenizer_is_refused(spoil: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    """Missing, impossible or contradictory parts."""
    path = folder_of(trained("gpt-2"), tmp_path) / "tokenizer.json"
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    refusal(tmp_path)
