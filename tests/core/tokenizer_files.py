"""Small trained tokenizers in the files that models bring: tokenizer.json, tokenizer.model, GGUF."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from texts import HOSTILE
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from core.loading import tokenizers
from core.tokenizers.model_tokenizer import ModelTokenizer
from core.tokenizers.split_patterns import LLAMA3, PRE_TOKENIZERS, QWEN2

CORPUS = [*HOSTILE, Path(__file__).read_text(encoding="utf-8"), *(str(n**5) + " × " for n in range(2000))]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def split(*patterns: str) -> pre_tokenizers.PreTokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(each), "isolated") for each in patterns), byte_level])


CUTS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "gpt-2-space": lambda: pre_tokenizers.ByteLevel(add_prefix_space=True),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: split(LLAMA3),
    "qwen2": lambda: split(QWEN2),
}


def trained(kind: str, *, first: bool = False, alphabet: bool = True) -> Library:
    """A small byte-level BPE of the tokenizers library; special tokens have the first ids (`first`) or the last.

    `kind` is one of `CUTS` or a cut of llama.cpp.
    """
    return Library.from_str(_trained(kind, first, alphabet))


@cache
def _trained(kind: str, first: bool, alphabet: bool) -> str:
    library = Library(models.BPE(unk_token=None if alphabet else SPECIAL[0]))
    library.pre_tokenizer = CUTS[kind]() if kind in CUTS else split(*PRE_TOKENIZERS[kind].patterns)
    library.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        library.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        special_tokens=SPECIAL if first else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
    )
    library.train_from_iterator(CORPUS if alphabet else [CORPUS[-2001]], trainer)
    library.add_special_tokens(SPECIAL)
    library.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return str(library.to_str())


def folder_of(library: Library, folder: Path, **config: Any) -> Path:
    """A model folder with this tokenizer.json, and `config` in tokenizer_config.json."""
    folder.mkdir(exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    says = {"model_type": "llama", "vocab_size": library.get_vocab_size() + 3}
    (folder / "config.json").write_text(json.dumps(says))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def load(path: Path) -> ModelTokenizer:
    tokenizers.cached_tokenizer.cache_clear()
    return tokenizers.load_model_tokenizer(path, "theirs")


def write_gguf(path: Path, tokens: list[str], types: list[int], says: dict[str, Any]) -> Path:
    """A .gguf file that holds a tokenizer and an embedding with two rows more; `says` are keys of tokenizer.ggml."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for key, value in says.items():
        name = key if key.startswith(("tokenizer.", "general.")) else f"tokenizer.ggml.{key}"
        if isinstance(value, list | bytes):
            writer.add_array(name, list(value))
        else:
            writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens) + 2, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_of(path: Path, library: Library, pre: str | None, **says: Any) -> Path:
    """The .gguf file that llama.cpp's converter makes of a byte-level tokenizer."""
    names = sorted(library.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    added = library.get_added_tokens_decoder()
    types = [1 if id not in added else 3 if added[id].special else 4 for _, id in names]
    merges = [" ".join(merge) for merge in json.loads(library.to_str())["model"]["merges"]]
    keys = {"model": "gpt2", "merges": merges} | ({} if pre is None else {"pre": pre}) | says
    return write_gguf(path, [name for name, _ in names], types, keys)


# SentencePiece -------------------------------------------------------------------------------------------------------

PIECES: dict[str, dict[str, Any]] = {
    "llama2": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    | {"remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True},
    "gemma": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    | {"remove_extra_whitespaces": False, "add_dummy_prefix": False, "user_defined_symbols": ["\n\n", "▁▁▁", "<tool>"]},
    "t5": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc", "vocab_size": 600}
    | {"unk_id": 2, "eos_id": 1, "pad_id": 0, "bos_id": -1},
    "unigram": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "identity"}
    | {"remove_extra_whitespaces": False, "vocab_size": 800},
}
"""Options of the trainer, like those of the models they are named after."""


@cache
def pieces(kind: str) -> bytes:
    """A small trained tokenizer.model."""
    folder = Path(__file__).parent
    corpus = [
        line for path in sorted(folder.glob("test_l*.py")) for line in path.read_text("utf-8").splitlines() if line
    ]
    options = {"vocab_size": 900, "character_coverage": 0.99, "minloglevel": 2, **PIECES[kind]}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus + HOSTILE), model_writer=model, **options)
    return model.getvalue()


def processor(kind: str, **override: Any) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=pieces(kind), **override)


def pieces_folder(kind: str, folder: Path, **config: Any) -> Path:
    """A model folder with a tokenizer.model."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(pieces(kind))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 1000}))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def pieces_gguf(kind: str, path: Path, **says: Any) -> Path:
    """The .gguf file that llama.cpp's converter makes of a tokenizer.model."""
    model, own = processor(kind), PIECES[kind]
    ids = range(model.get_piece_size())
    user = own.get("user_defined_symbols", [])
    texts = [model.id_to_piece(id) for id in ids]
    flags = [(model.is_unknown, 2), (model.is_control, 3), (model.is_byte, 6)]
    types = [next((kind for test, kind in flags if test(id)), 4 if texts[id] in user else 1) for id in ids]
    keys: dict[str, Any] = {
        "model": "llama" if own["model_type"] == "bpe" else "t5",
        "scores": [model.get_score(id) for id in ids],
        "unknown_token_id": model.unk_id(),
        "eos_token_id": model.eos_id(),
        "add_space_prefix": own.get("add_dummy_prefix", True),
        "remove_extra_whitespaces": own.get("remove_extra_whitespaces", True),
    }
    if charsmap := ModelProto.FromString(pieces(kind)).normalizer_spec.precompiled_charsmap:
        keys["precompiled_charsmap"] = charsmap
    if model.bos_id() >= 0:
        keys["bos_token_id"] = model.bos_id()
    return write_gguf(path, texts, types, keys | says)
