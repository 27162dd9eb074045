"""Owns tokenizers from a model's own files: byte-level BPE with the model's ids, pattern, added tokens and beginning.

tiktoken does the merging, for which a number must be both a token's id and its place among the merges. In these files
it need not be, so tiktoken's numbers are translated to the model's ids. Needs no torch.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import tiktoken

from core.errors import UserError
from core.formats.checked import CheckedValues, read_json
from core.formats.gguf import StringArray
from core.tokenizers.template import Template
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer, readable, well_formed

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGITS_THEN_GPT2 = r"'(?:[sdmt]|ll|ve|re)|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
"""GPT-2's pattern on what lies between digits, each of which stands alone: a run of spaces ends before one."""
_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _CL100K % r"\p{N}{1,3}"
QWEN2 = _CL100K % r"\p{N}"


@dataclass(frozen=True, slots=True)
class Added:
    """A token that is found in a text before it is cut into words."""

    id: int
    content: str
    special: bool
    """Whether it is found only where special tokens are asked for."""
    strips: tuple[bool, bool] = (False, False)
    """Whether it takes the white space on its left, on its right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the files say of a tokenizer."""

    ids: Mapping[str, int]
    """Ordinary tokens, each byte written as the character that stands for it."""
    merges: Iterable[tuple[str, str]]
    """The first ones first, gone through once."""
    pattern: str
    """Cuts text into the words that merges stay within."""
    added: Sequence[Added] = ()
    normal_form: bool = False
    """Whether text is composed first (Unicode NFC)."""
    leading_space: bool = False
    """Whether a text that begins without a space is given one."""
    whole_words: bool = False
    """Whether a word that is a token is taken as it is, reachable by merges or not."""
    unknown: int | None = None
    """Stands for a byte that has no token; None leaves it out."""
    begin: tuple[int, ...] = ()
    """What the model wants before any text."""
    end_of_text: int | None = None
    """Where an empty text starts from."""
    stops: frozenset[int] = frozenset()
    """What ends a text."""
    template: Template | None = None
    """How the model is spoken with."""


def _alphabet() -> dict[str, int]:
    """The printable characters that stand for bytes in the files (Radford et al. 2019, `bytes_to_unicode`)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF = _alphabet()


class ModelTokenizer(Tokenizer):
    """A model's own tokenizer. Raises `UserError` for merges that do not fit its vocabulary."""

    def __init__(self, name: str, words: Vocabulary, vocab_size: int) -> None:
        ranks, self._ids = _ranks(words)
        self._ranks, self._pieces = _places(words, ranks)
        self.name = name
        self.encoding = tiktoken.Encoding(name, pat_str=words.pattern, mergeable_ranks=ranks, special_tokens={})
        ranks.clear()  # tiktoken has copied them, and would keep ours too
        self.vocab_size = vocab_size
        self.template = words.template
        self.stops = frozenset(id for id in words.stops if 0 <= id < vocab_size)
        self._words = replace(words, ids={}, merges=())  # they are in the encoding now, and large
        self._added = {each.content: each.id for each in words.added}
        self._always = _finder(each for each in words.added if not each.special)
        self._special = _finder(words.added)
        self._special_ids = {each.id for each in words.added if each.special}
        self.end_of_text = next(id for id in (words.end_of_text, self._added.get(END_OF_TEXT), 0) if id is not None)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` after what the model wants before any text; a beginning written in the text stands for it."""
        ids = list(self._plain(well_formed(text), special))
        begin = list(self._words.begin)
        return ids if begin and ids[: len(begin)] == begin else begin + ids

    def _plain(self, text: str, special: bool) -> Iterator[int]:
        finder = self._special if special else self._always
        for number, part in enumerate(finder.split(text) if finder else [text]):
            if number % 2:
                yield self._added[part.strip() if part not in self._added else part]
            elif part:
                yield from self._merged(part)

    def _merged(self, text: str) -> Iterator[int]:
        if self._words.normal_form:
            text = unicodedata.normalize("NFC", text)
        if self._words.leading_space and not text.startswith(" "):
            text = " " + text
        for part in readable(text):
            for rank in self.encoding.encode_ordinary(part):
                if (id := self._ids[rank]) != _NONE:
                    yield id

    def _known(self, id: int) -> bytes | None:
        if id in self._pieces or not 0 <= id < len(self._ranks) or self._ranks[id] == _NONE:
            return self._pieces.get(id)
        return self.encoding.decode_single_token_bytes(self._ranks[id])

    def _is_special(self, id: int) -> bool:
        return id in self._special_ids


_NONE = -1
"""Stands in an array of numbers for one that is not there."""


def _ranks(words: Vocabulary) -> tuple[dict[bytes, int], "array[int]"]:
    """tiktoken's numbers, bytes first and then what is merged, and the model's id of each."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    unknown = _NONE if words.unknown is None else words.unknown
    ids = array("q", [unknown]) * 256
    for char, byte in BYTE_OF.items():
        ids[byte] = words.ids.get(char, unknown)
    reachable = (left + right for left, right in words.merges)
    for token in chain(reachable, words.ids if words.whole_words else ()):
        if token not in words.ids:
            raise UserError(f"the tokenizer is corrupt: it merges to {token!r}, which has no id; download it again")
        if (piece := _bytes(token)) not in ranks:
            ranks[piece] = len(ranks)
            ids.append(words.ids[token])
    return ranks, ids


def _places(words: Vocabulary, ranks: Mapping[bytes, int]) -> tuple["array[int]", dict[int, bytes]]:
    """tiktoken's number of each id, and the bytes of those ids that have none: tiktoken keeps the rest."""
    numbers, pieces = array("q", [_NONE]) * (len(words.ids) + len(words.added)), {}
    for token, id in words.ids.items():
        piece = _bytes(token)
        if piece in ranks and 0 <= id < len(numbers):
            numbers[id] = ranks[piece]
        else:
            pieces[id] = piece
    return numbers, pieces | {each.id: each.content.encode() for each in words.added}


def _bytes(token: str) -> bytes:
    """The bytes a token is written for; one with other characters is text as it stands."""
    try:
        return bytes([BYTE_OF[char] for char in token])
    except KeyError:
        return token.encode()


def _finder(added: Iterable[Added]) -> re.Pattern[str] | None:
    """Finds added tokens, of those that begin at the same place the longest."""
    patterns = [
        (r"\s*" if each.strips[0] else "") + re.escape(each.content) + (r"\s*" if each.strips[1] else "")
        for each in sorted(added, key=lambda each: -len(each.content))
        if each.content
    ]
    return re.compile(f"({'|'.join(patterns)})") if patterns else None


def read_tokenizer(path: Path, name: str, said: CheckedValues, vocab_size: int) -> ModelTokenizer:
    """The tokenizer of the model in a folder or .gguf file, whose config.json or GGUF metadata is `said`.

    Raises `UserError` for one that is broken or of another kind.
    """
    try:
        words = _folder(path, said) if path.is_dir() else _gguf(said)
        return ModelTokenizer(name, words, vocab_size)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the tokenizer of {path.name} is corrupt ({error!r}); download it again") from error


def _not_byte_level(where: str, what: str) -> UserError:
    return UserError(
        f"{where} holds {what}, but only byte-level BPE is known here; choose GPT-2, Llama 3, Qwen or SmolLM2"
    )


def _pair(merge: Any) -> tuple[str, str]:
    """A merge, written with a space between or as two strings."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


# A folder in the layout of Hugging Face ------------------------------------------------------------------------------


def _folder(folder: Path, said: CheckedValues) -> Vocabulary:
    if (folder / "tokenizer.json").exists():
        return _tokenizer_json(folder, said)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        return _vocab_and_merges(folder, said)
    if (folder / "tokenizer.model").exists():
        raise _not_byte_level("tokenizer.model", "a SentencePiece tokenizer")
    raise UserError(f"{folder} has no tokenizer.json, nor vocab.json and merges.txt; download the model again")


def _tokenizer_json(folder: Path, said: CheckedValues) -> Vocabulary:
    file = read_json(folder / "tokenizer.json")
    model, values = file.optional_object("model"), file.values
    steps, normalizers = (
        _flat(values.get("pre_tokenizer"), "pretokenizers"),
        _flat(values.get("normalizer"), "normalizers"),
    )
    if (kind := model.get("type", "BPE")) != "BPE":
        raise _not_byte_level(file.source, f"a {kind} tokenizer")
    if not any(step["type"] == "ByteLevel" for step in steps) or model.get("byte_fallback", False):
        raise _not_byte_level(file.source, "a SentencePiece tokenizer")
    if others := [step["type"] for step in normalizers if step["type"] != "NFC"]:
        raise _not_byte_level(file.source, f"a tokenizer that rewrites text ({others[0]})")
    added = [
        Added(each["id"], each["content"], each["special"], (each["lstrip"], each["rstrip"]))
        for each in values.get("added_tokens", [])
    ]
    apart = {each.content for each in added}
    ids = {token: id for token, id in model.values["vocab"].items() if token not in apart}
    unknown = model.get("unk_token", "")
    names = {each.content: each.id for each in added} | ids
    return Vocabulary(
        ids=ids,
        merges=map(_pair, model.values["merges"]),
        pattern=_pattern(steps, file.source),
        added=added,
        normal_form=bool(normalizers),
        leading_space=any(step.get("add_prefix_space") for step in steps),
        whole_words=model.get("ignore_merges", False),
        unknown=names.get(unknown),
        begin=_begin(values.get("post_processor")),
        end_of_text=_end_of_text(folder, said, names),
        stops=_stops(folder, said),
        template=_template(folder),
    )


def _flat(step: Any, inner: str) -> list[dict[str, Any]]:
    """A step of a tokenizer.json as the list of steps it is made of."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [each for part in step[inner] for each in _flat(part, inner)]
    return [step]


def _pattern(steps: Sequence[dict[str, Any]], where: str) -> str:
    """One pattern for all steps that cut a text. Raises `UserError` where there is none."""
    cuts = [step for step in steps if step["type"] != "ByteLevel" or step.get("use_regex", True)]
    match [step["type"] for step in cuts]:
        case ["ByteLevel"]:
            return GPT2
        case ["Digits", "ByteLevel"] if cuts[0]["individual_digits"]:
            return DIGITS_THEN_GPT2
        case ["Split"] if cuts[0]["behavior"] == "Isolated" and not cuts[0].get("invert"):
            given = cuts[0]["pattern"]
            return given["Regex"] if "Regex" in given else re.escape(given["String"])
    kinds = ", ".join(step["type"] for step in cuts) or "nothing"
    raise UserError(f"{where} cuts text by {kinds}, a way not known here; choose another model")


def _begin(processor: Any) -> tuple[int, ...]:
    """The special tokens that a template puts before a text."""
    for step in _flat(processor, "processors"):
        if step["type"] == "TemplateProcessing":
            names = [part["SpecialToken"]["id"] for part in step["single"] if "SpecialToken" in part]
            before = next(n for n, part in enumerate(step["single"]) if "Sequence" in part)
            return tuple(id for name in names[:before] for id in step["special_tokens"][name]["ids"])
    return ()


def _vocab_and_merges(folder: Path, said: CheckedValues) -> Vocabulary:
    config = _tokenizer_config(folder)
    qwen = said.get("model_type", "").startswith("qwen")
    names = read_json(folder / "vocab.json").values
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = (_pair(line) for line in lines if line and not line.startswith("#version"))
    added = {
        int(id): Added(
            int(id), each["content"], each.get("special", True), (each.get("lstrip", False), each.get("rstrip", False))
        )
        for id, each in config.optional_object("added_tokens_decoder").values.items()
    }
    if END_OF_TEXT in names:
        added.setdefault(names[END_OF_TEXT], Added(names[END_OF_TEXT], END_OF_TEXT, special=True))
    apart = {each.content for each in added.values()}
    end_of_text = _end_of_text(folder, said, {each.content: each.id for each in added.values()})
    return Vocabulary(
        ids={token: id for token, id in names.items() if token not in apart},
        merges=merges,
        pattern=QWEN2 if qwen else GPT2,
        added=list(added.values()),
        normal_form=qwen,
        leading_space=config.get("add_prefix_space", False),
        begin=(end_of_text,) if config.get("add_bos_token", False) and end_of_text is not None else (),
        end_of_text=end_of_text,
        stops=_stops(folder, said),
        template=_template(folder),
    )


def _tokenizer_config(folder: Path) -> CheckedValues:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else CheckedValues(path.name, {})


def _end_of_text(folder: Path, said: CheckedValues, names: Mapping[str, int]) -> int | None:
    """The token that begins texts, or else the one that ends them, as the tokenizer or the model names it."""
    config = _tokenizer_config(folder).values
    for key in ("bos_token", "eos_token"):
        given = config.get(key)
        content = given.get("content") if isinstance(given, dict) else given
        if isinstance(content, str) and content in names:
            return names[content]
        if isinstance(id := said.values.get(f"{key}_id"), int):
            return id
    return None


def _stops(folder: Path, said: CheckedValues) -> frozenset[int]:
    """The ids that end a text by what the makers generate with, or else by the model itself."""
    path = folder / "generation_config.json"
    for source in (read_json(path).values if path.exists() else {}, said.values):
        given = source.get("eos_token_id")
        ids = given if isinstance(given, list) else [given]
        if found := {id for id in ids if type(id) is int}:
            return frozenset(found)
    return frozenset()


def _template(folder: Path) -> Template | None:
    """The chat template of a folder: a file of its own, or a word of the tokenizer's, perhaps one of several."""
    values = _tokenizer_config(folder).values
    path = folder / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.exists() else values.get("chat_template")
    if isinstance(source, list):
        source = {each.get("name"): each.get("template") for each in source}.get("default")
    if not isinstance(source, str):
        return None
    named = {key: given.get("content") if isinstance(given, dict) else given for key, given in values.items()}
    tokens = {key: text for key, text in named.items() if key.endswith("_token") and isinstance(text, str)}
    return Template(source, tokens)


# GGUF ----------------------------------------------------------------------------------------------------------------

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the name of a pre-tokenizer in a GGUF file means."""

    pattern: str
    settings: dict[str, bool] = field(default_factory=dict)
    begins: bool = False
    """Whether a text begins with BOS where the file does not say."""


_KINDS = {
    "gpt-2": _Kind(GPT2),
    "smollm": _Kind(DIGITS_THEN_GPT2),
    "llama-bpe": _Kind(LLAMA3, {"whole_words": True}, begins=True),
    "qwen2": _Kind(QWEN2, {"normal_form": True}),
}


_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""What ends a turn or a message, where it is not what ends a text."""


def _gguf_template(said: CheckedValues, tokens: StringArray) -> Template | None:
    source = said.get("tokenizer.chat_template", "")
    ids = {name: said.values.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    known = {f"{name}_token": tokens[id] for name, id in ids.items() if type(id) is int and 0 <= id < len(tokens)}
    return Template(source, known) if source else None


def _gguf(said: CheckedValues) -> Vocabulary:
    if (kind := said.get("tokenizer.ggml.model", "")) != "gpt2":
        raise _not_byte_level(said.source, f"a {'SentencePiece' if kind == 'llama' else kind or 'nameless'} tokenizer")
    if (pre := said.get("tokenizer.ggml.pre", "gpt-2")) not in _KINDS:
        raise UserError(f"{said.source} cuts text as {pre!r}, a way not known here; there are {', '.join(_KINDS)}")
    tokens, kinds, merges = (said.values.get(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges"))
    if not isinstance(tokens, StringArray) or not isinstance(merges, StringArray):
        raise UserError(f"{said.source} has no tokens or no merges; download it again")
    kinds = kinds or [_NORMAL] * len(tokens)
    begin, end, unknown = (said.values.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "unknown"))
    begins = said.get("tokenizer.ggml.add_bos_token", _KINDS[pre].begins)
    return Vocabulary(
        ids={token: id for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == _NORMAL},
        merges=map(_pair, merges),
        pattern=_KINDS[pre].pattern,
        added=[
            Added(id, token, special=kind == _CONTROL)
            for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        unknown=unknown,
        begin=(begin,) if begins and begin is not None else (),
        end_of_text=end if begin is None else begin,
        stops=frozenset(id for id in (end, *(said.values.get(key) for key in _ENDS)) if type(id) is int),
        template=_gguf_template(said, tokens),
        **_KINDS[pre].settings,
    )
