"""The tokenizer of a served model: by the engine, or a local one that is proved to be the same."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from core.errors import Option, UserError
from core.formats.text import shown, well_formed
from core.language import _
from core.remote.engine import RemoteEngine
from core.remote.pending import Pending
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer

T = TypeVar("T")

SECONDS = 30.0
"""How long the tokenizer waits for the engine."""
SAMPLED = 500
"""Ids whose bytes are compared, spread over the vocabulary."""
PROBE_TEXT = (
    "I prefer oat milk in my coffee, don't you? It's 3.14159 or 1,000,000; 20 % of 2026-11-26.\n\n"
    '\tdef f(x_1, *args): return [x**2 for x in args if x != 0]  # TODO\r\n    <div class="a">&amp;</div>\n'
    "ÀÉÎõü ß œ — “quotes” … tiếng Việt có dấu: nghiêng ngả; Ελληνικά, русский язык, עברית, العربية, हिन्दी, ไทย, "
    "日本語のテキスト、漢字とかな。中文文本，繁體字。한국어 문장. 🥛☕️ 👩‍👩‍👧"
    " 🇻🇳 ∑∫√≠≤ ①②③ Ａ１ \u00a0\u2003 \ufeff ́e ﬁ 𝒜𝔅 "
    "supercalifragilisticexpialidocious zzzzzzzzqqqq      eight spaces AAAAbbbbCCCC1234abcd__init__ "
)
"""Letters, digits, code, white space, many scripts, and characters that normalization changes."""
_MARK = re.compile(r"<\|?[^<>\s]{1,60}\|?>|\[/?[A-Z_0-9]{1,40}\]")
"""How special tokens look."""


class RemoteTokenizer(Tokenizer):
    """What a served model makes of text. `encode` and `piece` wait for the engine where the answer is not kept yet.

    `prefetch` asks for pieces ahead, so that a screen does not wait. Raises `UserError` as the engine does.
    """

    def __init__(self, engine: RemoteEngine) -> None:
        said = engine.capabilities
        if not said.tokenizer:
            raise UserError(
                _("{address} has no tokenizer; give {tokenizer} with the folder of the model"),
                address=engine.address,
                tokenizer=Option("tokenizer"),
            )
        self.engine, self.name, self.vocab_size = engine, said.model, said.vocab_size or 1
        self._ids = lru_cache(maxsize=256)(self._ask)
        plain, whole = self._ids("a", False, False), self._ids("a", False, True)
        at = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), 0)
        self.begin, self.end = whole[:at], whole[at + len(plain) :]
        self.stops = frozenset(id for id in said.stops if 0 <= id < self.vocab_size)
        self.template = ChatTemplate(said.template, dict(said.template_tokens)) if said.template else None
        named = self._ids(END_OF_TEXT, True, False)
        self.end_of_text = named[0] if len(named) == 1 else next(iter((*self.begin, *sorted(self.stops))), 0)
        self._special: dict[int, bool] = {}

    @property
    def kind(self) -> str:
        """Empty: the engine does not tell it."""
        return ""

    def special_ids(self) -> frozenset[int]:
        """Those that the engine tells without being asked."""
        return frozenset({*self.begin, *self.end, *self.stops})

    def _ask(self, text: str, special: bool, ends: bool) -> tuple[int, ...]:
        ids = _wait(self.engine.tokenize(text, special=special, ends=ends), self.name)
        if wrong := next((id for id in ids if not 0 <= id < self.vocab_size), None):
            raise UserError(
                _("{name}: the engine gives the token id {wrong} (allowed: 0 to {last})"),
                name=self.name,
                wrong=wrong,
                last=self.vocab_size - 1,
            )
        return tuple(ids)

    def inner_ids(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` alone. Raises `UserError` where the engine reads a special token that was meant as text."""
        text = well_formed(text)
        if not text:
            return []
        ids = list(self._ids(text, special, False))
        if not special and self.engine.always_special:
            for mark in set(_MARK.findall(text)):
                if self._is_mark(mark):
                    raise UserError(
                        _(
                            "{name}: the engine reads {mark} in the text as one special token; remove it from the "
                            "text, or allow it with {special}"
                        ),
                        name=self.name,
                        mark=shown(mark),
                        special=Option("special"),
                    )
        return ids

    def _is_mark(self, text: str) -> bool:
        """Whether `text` is one token even between letters, as only special tokens are."""
        ids = self._ids(text, False, False)
        return len(ids) == 1 and ids[0] in self._ids(f"q{text}q", False, False)

    def prefetch(self, ids: Sequence[int]) -> Pending[dict[int, bytes]]:
        """Ask for the bytes of `ids`, which `piece` then has at once."""
        return self.engine.pieces(ids)

    def inner_starts(self, text: str, *, special: bool = False) -> tuple[list[int], list[int]]:
        """`inner_ids`, and for each the character of `text` at which it starts."""
        _wait(self.prefetch(self.inner_ids(text, special=special)), self.name)
        return super().inner_starts(text, special=special)

    def _known(self, id: int) -> bytes | None:
        """The bytes; `<|id 5|>` where the engine does not tell them, which is so for some parts of characters."""
        if (piece := self.engine.piece(id)) is None:
            piece = _wait(self.prefetch([id]), self.name).get(id, f"<|id {id}|>".encode())
        return piece

    def _is_special(self, id: int) -> bool:
        """Whether ordinary text never has this token, as far as the engine shows it."""
        if id not in self._special:
            piece = self.piece(id).decode("utf-8", "replace")
            ends = {*self.begin, *self.end, *self.stops, self.end_of_text}
            self._special[id] = id in ends or bool(_MARK.fullmatch(piece) and self._is_alone(id, piece))
        return self._special[id]

    def _is_alone(self, id: int, piece: str) -> bool:
        """Whether `piece` is this one token between letters."""
        return id in self._ids(f"q{piece}q", True, False)


def same_tokenizer(local: Tokenizer, engine: RemoteEngine) -> bool:
    """Whether a local tokenizer gives the ids of the served model, and they mean the same bytes.

    Compared are a hash of the ids of `PROBE_TEXT`, with special tokens among them, and the bytes of `SAMPLED` ids.
    The engine may have more ids than the tokenizer: models pad their vocabulary.
    """
    said = engine.capabilities
    if said.vocab_size is None or local.vocab_size > said.vocab_size or not said.tokenizer:
        return False
    marks = "".join(local.text([id]) for id in sorted(local.stops))
    text = f"{PROBE_TEXT}{marks}"
    remote = _wait(engine.tokenize(text, special=True), said.model)
    if _hash(remote) != _hash(local.inner_ids(text, special=True)):
        return False
    step = max(1, local.vocab_size // SAMPLED)
    pieces = _wait(engine.pieces(range(0, local.vocab_size, step)), said.model)
    return all(local.spelled(id) in (b"", piece) for id, piece in pieces.items())


def _hash(ids: Sequence[int]) -> str:
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def _wait(pending: Pending[T], name: str) -> T:
    """The result, where it comes in time."""
    try:
        return pending.result(SECONDS)
    except TimeoutError:
        pending.cancel()
        raise UserError(
            _("{name}: the engine did not answer in {seconds:g} s; check the engine and the network"),
            name=name,
            seconds=SECONDS,
        ) from None
