"""Reads a tokenizer from the metadata of a GGUF file, as llama.cpp does: kinds `gpt2`, `llama` and `t5`."""

import reprlib

from tokenizers import AddedToken as LibraryToken
from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from core.formats.checked import CheckedValues
from core.formats.gguf import StringArray
from core.formats.text import shown
from core.language import _
from core.tokenizers import sentencepiece
from core.tokenizers.added_tokens import AddedToken
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.library import LibraryEncoder, parse_merge
from core.tokenizers.model_tokenizer import TokenizerData
from core.tokenizers.pieces import SPACE, byte_level, spaced
from core.tokenizers.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Piece,
    SentencePieceEncoder,
)
from core.tokenizers.split_patterns import DEFAULT, PRE_TOKENIZERS, PreTokenizer
from core.tokenizers.stop_tokens import ENDS, stop_ids

_KEY = "tokenizer.ggml."
_SUPPORTED = "gpt2, gemma4, llama, t5"
_STOPS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
_SPACED_DEFAULTS = {"llama": {"bos": 1, "eos": 2, "unknown": 0}, "t5": {"eos": 1, "unknown": 2}}
"""Ids where the file does not say them."""
_READ = frozenset(
    {
        "model", "pre", "tokens", "token_type", "scores", "merges", "add_bos_token", "add_eos_token",
        "add_space_prefix", "remove_extra_whitespaces", "precompiled_charsmap",
    }
)  # fmt: skip
_WITHOUT_EFFECT = frozenset({"token_type_count", "add_sep_token"})
"""Keys of encoders such as BERT."""
_NEUTRAL = {"normalizer.lowercase": False, "escape_whitespaces": True, "suppress_tokens": []}
"""Keys that have one value without effect."""


class _Vocabulary:
    """The tokens of a file, their types and the ids of special ones."""

    def __init__(self, metadata: CheckedValues, kind: str) -> None:
        self.metadata, self._defaults = metadata, _SPACED_DEFAULTS.get(kind, {})
        self.tokens = _strings(metadata, "tokens")
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        types = metadata.values.get(_KEY + "token_type")
        if types is None:
            types = [NORMAL] * len(self.tokens)
        if not isinstance(types, list) or len(types) < len(self.tokens):
            raise metadata.invalid(
                _KEY + "token_type", _("a list of {count} whole numbers").format(count=len(self.tokens))
            )
        self.types = types[: len(self.tokens)]
        for text in ENDS & self.ids.keys():
            self.types[self.ids[text]] = CONTROL  # some files call them ordinary tokens

    def special_id(self, name: str) -> int | None:
        """The id of `bos`, `eos` and the like; None where there is none."""
        id = self.metadata.get(f"{_KEY}{name}_token_id", self._defaults.get(name, -1))
        return id if 0 <= id < len(self.tokens) else None

    def added(self) -> dict[int, bool]:
        """Ids of tokens that are found before merging, and whether they are special."""
        special = {CONTROL: True, UNKNOWN: True, USER_DEFINED: False}
        return {id: special[kind] for id, kind in enumerate(self.types) if kind in special}

    def takes_space_after(self, token: str) -> bool:
        """Whether an added token takes the white space after it: those of Phi-3 do, which files do not say."""
        name = self.metadata.get("general.name", "").lower()
        return ("phi-3" in name or "phi3" in name) and token not in ("<unk>", "<s>", "<|endoftext|>")

    def around(self, add_bos: bool, add_eos: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids before and after every text."""
        bos, eos = self.special_id("bos"), self.special_id("eos")
        add_bos = self.metadata.get(_KEY + "add_bos_token", add_bos)
        add_eos = self.metadata.get(_KEY + "add_eos_token", add_eos)
        return (bos,) if add_bos and bos is not None else (), (eos,) if add_eos and eos is not None else ()

    def stops(self) -> frozenset[int]:
        """The ids that end a text."""
        return stop_ids(self.ids, (id for name in _STOPS if (id := self.special_id(name)) is not None))

    def template(self) -> ChatTemplate | None:
        """The chat template; of several the one without a name."""
        source = self.metadata.get("tokenizer.chat_template", "")
        names = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad", "seperator": "sep", "mask": "mask"}
        ids = {short: self.special_id(name) for name, short in names.items()}
        texts = {f"{name}_token": self.tokens[id] for name, id in ids.items() if id is not None}
        return ChatTemplate(source, texts) if source else None


def read_gguf(metadata: CheckedValues) -> TokenizerData:
    """The tokenizer that the metadata describes. Raises `UserError` for one that is not supported."""
    kind = metadata.get(_KEY + "model", "")
    _refuse_unknown(metadata)
    if kind in ("gpt2", "gemma4"):
        return _merged(metadata, kind)
    if kind in ("llama", "t5"):
        return _by_score(metadata, kind)
    raise metadata.error(
        _("{key}model is {kind}, a kind of tokenizer that is not supported (supported: {supported})").format(
            key=_KEY, kind=reprlib.repr(kind), supported=_SUPPORTED
        )
    )


def _refuse_unknown(metadata: CheckedValues) -> None:
    """Raise `UserError` for a key that may change ids and is not read; ids of special tokens change none."""
    for key, value in metadata.values.items():
        name = key.removeprefix(_KEY)
        known = name in _READ | _WITHOUT_EFFECT or name.endswith("_token_id")
        if name == key or known or (name in _NEUTRAL and value == _NEUTRAL[name]):
            continue
        raise metadata.error(
            _("{key} is {value}, which is not supported").format(key=shown(key), value=reprlib.repr(value)),
            _("choose another model, or delete the setting if it is only a note"),
        )


def _merged(metadata: CheckedValues, kind: str) -> TokenizerData:
    """A vocabulary with merges: byte-level, or with `▁` for a space."""
    vocabulary = _Vocabulary(metadata, kind)
    name = "gemma4" if kind == "gemma4" else metadata.get(_KEY + "pre", "")
    pre = metadata.one_of(_KEY + "pre", PRE_TOKENIZERS, "default") if kind == "gpt2" else PRE_TOKENIZERS[name]
    library = _library(vocabulary, pre)
    added = vocabulary.added()
    library.add_tokens(
        [LibraryToken(vocabulary.tokens[id], special=special, normalized=False) for id, special in added.items()]
    )
    bos, eos = vocabulary.special_id("bos"), vocabulary.special_id("eos")
    begin, end = vocabulary.around(pre.add_bos, add_eos=False)
    return TokenizerData(
        encoder=_GgufEncoder(library, metadata.source, vocabulary.tokens),
        to_bytes=spaced if pre.spaces else byte_level,
        verbatim={id: vocabulary.tokens[id] for id in added},
        special=frozenset(id for id, special in added.items() if special),
        begin=begin,
        end=end,
        end_of_text=eos if bos is None else bos,
        stops=vocabulary.stops(),
        template=vocabulary.template(),
        warning="" if name or pre is not DEFAULT else _missing_cut(metadata),
    )


def _missing_cut(metadata: CheckedValues) -> str:
    return _(
        "{file} does not say how text is split before merging ({key} is missing): the split that llama.cpp calls "
        "default is used, and ids may differ from the model's own; convert the model again"
    ).format(file=metadata.source, key=f"{_KEY}pre")


def _library(vocabulary: _Vocabulary, pre: PreTokenizer) -> Library:
    unknown = vocabulary.special_id("unknown")
    merges = [parse_merge(merge) for merge in _strings(vocabulary.metadata, "merges")]
    try:
        model = models.BPE(
            vocabulary.ids,
            merges,
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            ignore_merges=pre.ignore_merges,
            byte_fallback=pre.spaces,
        )
    except Exception as error:  # the library raises no narrower one
        reason = str(error).splitlines()[0]
        raise vocabulary.metadata.error(
            _("{key}merges do not fit the tokens ({reason})").format(key=_KEY, reason=reason)
        ) from error
    library = Library(model)
    steps: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns
    ]
    if pre.spaces:
        library.normalizer = normalizers.Replace(" ", SPACE)
    else:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    if pre.nfc:
        library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return library


class _GgufEncoder(LibraryEncoder):
    """Reads tokens from the file, where two ids may have the same text."""

    def __init__(self, library: Library, source: str, tokens: StringArray) -> None:
        super().__init__(library, source)
        self._tokens = tokens

    def token(self, id: int) -> str | None:
        return self._tokens[id] if 0 <= id < len(self._tokens) else None


def _by_score(metadata: CheckedValues, kind: str) -> TokenizerData:
    """A vocabulary of SentencePiece: merged by score (`llama`), or the likeliest pieces (`t5`)."""
    vocabulary = _Vocabulary(metadata, kind)
    spaced_by_default = kind == "llama"
    unknown = vocabulary.special_id("unknown")
    prefix = metadata.get(_KEY + "add_space_prefix", spaced_by_default)
    model = sentencepiece.write_model(
        _pieces(vocabulary, unknown or 0),
        algorithm=sentencepiece.BPE if kind == "llama" else sentencepiece.UNIGRAM,
        unknown_id=unknown or 0,
        byte_fallback=_has_all_bytes(vocabulary),
        charsmap=bytes(number & 255 for number in metadata.values.get(_KEY + "precompiled_charsmap") or ()),
        add_prefix=prefix,
        remove_extra_whitespaces=metadata.get(_KEY + "remove_extra_whitespaces", False),
    )
    added = vocabulary.added()
    tokens = [
        AddedToken(id, text := vocabulary.tokens[id], special, rstrip=vocabulary.takes_space_after(text))
        for id, special in added.items()
    ]
    bos, eos = vocabulary.special_id("bos"), vocabulary.special_id("eos")
    begin, end = vocabulary.around(add_bos=kind == "llama", add_eos=kind == "t5")
    return TokenizerData(
        encoder=SentencePieceEncoder(model, tokens, metadata.source, prefix_after_added=True, texts=vocabulary.tokens),
        to_bytes=spaced,
        verbatim={id: vocabulary.tokens[id] for id, special in added.items() if special},
        special=frozenset(id for id, special in added.items() if special),
        begin=begin,
        end=end,
        prefix_space=prefix,
        end_of_text=eos if bos is None else bos,
        stops=vocabulary.stops(),
        template=vocabulary.template(),
    )


def _pieces(vocabulary: _Vocabulary, unknown: int) -> list[Piece]:
    """The pieces by id. A text that two ids have, and no text, get one that no text contains."""
    scores = vocabulary.metadata.values.get(_KEY + "scores")
    if scores is None:
        scores = [0.0] * len(vocabulary.tokens)
    if not isinstance(scores, list) or len(scores) < len(vocabulary.tokens):
        raise vocabulary.metadata.invalid(
            _KEY + "scores", _("a list of {count} numbers").format(count=len(vocabulary.tokens))
        )
    kinds = {NORMAL, CONTROL, USER_DEFINED, UNUSED} | ({BYTE} if _has_all_bytes(vocabulary) else set())
    by_number = {kind: kind if kind in kinds else CONTROL for kind in set(vocabulary.types)}
    entries = zip(vocabulary.tokens, scores, vocabulary.types, strict=False)  # there may be more scores
    pieces = [Piece(text, score, by_number[kind]) for text, score, kind in entries]
    if len(vocabulary.ids) < len(pieces) or "" in vocabulary.ids:
        for id, piece in enumerate(pieces):
            if vocabulary.ids[piece.text] != id or not piece.text:
                pieces[id] = Piece(f"\ufdd0{id}", 0.0, CONTROL)
    pieces[unknown] = pieces[unknown]._replace(type=UNKNOWN)
    return pieces


def _has_all_bytes(vocabulary: _Vocabulary) -> bool:
    return sum(kind == BYTE for kind in vocabulary.types) == 256


def _strings(metadata: CheckedValues, name: str) -> StringArray:
    if not isinstance(value := metadata.values.get(_KEY + name), StringArray):
        raise metadata.invalid(_KEY + name, _("an array of strings"))
    return value
