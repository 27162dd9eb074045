"""The bytes of tokens from an engine that gives text only, and a local tokenizer that is proved to be the engine's."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
from engine_servers import Body, Handler, Respond, replay, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from remote_contract import CUP, connect

from core.errors import UserError
from core.loading.model import Model
from core.loading.tokenizers import load_tokenizer
from core.remote.engine import RemoteEngine
from core.remote.pieces import BYTE_TEXTS, SPLITTERS, decode, spelled
from core.remote.tokenizer import RemoteTokenizer, same_tokenizer
from core.tokenizers.model_tokenizer import ModelTokenizer
from core.tokenizers.tokenizer import Tokenizer


@pytest.fixture
def local(smollm2: Callable[[str], Model]) -> Tokenizer:
    return smollm2("fp32").tokenizer


@pytest.fixture(scope="module", params=["vllm_top20", "llama"])
def engine(request: pytest.FixtureRequest) -> Iterator[RemoteEngine]:
    with serving(replay(request.param)) as server:
        remote = connect(server.url)
        yield remote
        remote.close()


def test_every_part_of_a_character_has_its_bytes(local: Tokenizer) -> None:
    """The engine decodes as transformers does: U+FFFD for what is not UTF-8. The reference is the local tokenizer."""
    single = {piece: id for id in range(local.vocab_size) if len(piece := local.piece(id)) == 1}
    asked = []

    async def detokenize(ids: Sequence[int]) -> str:
        asked.append(len(ids))
        return b"".join(map(local.piece, ids)).decode("utf-8", "replace")

    parts = [id for id in range(local.vocab_size) if "\\x" in local.text([id])]
    others = [local.inner_ids(text)[0] for text in (*SPLITTERS, " §", "seven")]
    known = {id: local.piece(id) for id in local.inner_ids("\ufffd")}
    ids = [id for id in (*parts, *others) if id not in known]
    splitters = {text: local.inner_ids(text) for text in SPLITTERS}
    assert len(parts) > 300
    found = asyncio.run(decode(ids, detokenize, splitters, single))
    assert found == {id: local.piece(id) for id in ids}
    assert len(asked) < len(parts) + 40


def test_rare_characters_tell_the_ids_of_single_bytes(local: Tokenizer) -> None:
    told: dict[int, bytes] = {}
    for text in BYTE_TEXTS:
        ids = local.inner_ids(text)
        told |= spelled(text, ids, [_byte_level(local.piece(id)) for id in ids])
    assert told == {id: local.piece(id) for id in told}
    singles = {piece for piece in told.values() if len(piece) == 1}
    assert {bytes([byte]) for byte in range(0x80, 0xC0)} <= singles


def _byte_level(piece: bytes) -> str:
    """As GPT-2's files write it, by the reference of transformers."""
    return "".join(_letters()[byte] for byte in piece)


@cache
def _letters() -> dict[int, str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return bytes_to_unicode()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=6))
def test_tokens_as_byte_level_files_write_them(pieces: list[bytes]) -> None:
    joined = b"".join(pieces)
    told = spelled(joined.decode("utf-8", "replace"), range(len(pieces)), [_byte_level(piece) for piece in pieces])
    valid = joined.decode("utf-8", "replace").encode() == joined
    assert told == (dict(enumerate(pieces)) if valid else {})


def test_tokens_as_sentencepiece_writes_them() -> None:
    assert spelled("a é 🥛", range(6), ["a", "▁é", "▁", "<0xF0>", "<0x9F>", "<0xA5>"]) == {}
    told = spelled(" é🥛", range(5), ["▁é", "<0xF0>", "<0x9F>", "<0xA5>", "<0x9B>"])
    assert told == {0: " é".encode(), 1: b"\xf0", 2: b"\x9f", 3: b"\xa5", 4: b"\x9b"}


def test_a_remote_tokenizer_equals_the_local_one(engine: RemoteEngine, local: Tokenizer) -> None:
    remote = RemoteTokenizer(engine)
    assert (remote.begin, remote.end, remote.vocab_size) == ((), (), local.vocab_size)
    assert remote.inner_starts(f"a {CUP} b") == local.inner_starts(f"a {CUP} b")
    ids = local.inner_ids(f"a {CUP} b")
    assert [remote.piece(id) for id in ids] == [local.piece(id) for id in ids]
    assert remote.encode("") == []
    with pytest.raises(UserError, match="49152 is not a token id"):
        remote.piece(49152)


def test_a_llama_server_tells_the_chat_template_and_the_end_of_a_text() -> None:
    with serving(replay("llama")) as server:
        engine = connect(server.url)
        remote = RemoteTokenizer(engine)
        engine.close()
    assert remote.stops == {2}
    assert remote.template is not None and "im_start" in remote.template.source
    assert remote.template.tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def speaking(tokenizer: Tokenizer) -> Respond:
    """vLLM as it was recorded, with the tokens of `tokenizer`; special tokens in a text are always such, as in vLLM."""
    recorded = replay("vllm_top20")

    def respond(path: str, body: Body, handler: Handler) -> None:
        if path == "/tokenize" and body is not None:
            ids = tokenizer.inner_ids(body["prompt"], special=True)
            written = [_byte_level(tokenizer.piece(id)) for id in ids]
            handler.send(200, json.dumps({"tokens": ids, "token_strs": written}).encode())
        elif path == "/detokenize" and body is not None:
            text = b"".join(map(tokenizer.piece, body["tokens"])).decode("utf-8", "replace")
            handler.send(200, json.dumps({"prompt": text}).encode())
        else:
            recorded(path, body, handler)

    return respond


class OtherDigits(ModelTokenizer):
    """Reads digits before others as one more character: another split of the same vocabulary."""

    def inner_ids(self, text: str, *, special: bool = False) -> list[int]:
        return super().inner_ids(text.replace("①", " ①"), special=special)


def test_a_local_tokenizer_is_proved_to_be_the_engines(local: ModelTokenizer) -> None:
    other = OtherDigits(local.name, local._data, local.vocab_size)
    with serving(speaking(local)) as server:
        engine = connect(server.url)
        assert same_tokenizer(local, engine)
        assert not same_tokenizer(other, engine)
        assert not same_tokenizer(load_tokenizer("bytes"), engine)
        assert not same_tokenizer(load_tokenizer("cl100k"), engine)
        engine.close()


def test_a_special_token_in_a_text_is_refused_where_the_engine_cannot_read_it_as_text(local: Tokenizer) -> None:
    with serving(speaking(local)) as server:
        engine = connect(server.url)
        remote = RemoteTokenizer(engine)
        assert remote.encode("<div> a <b>") == local.encode("<div> a <b>")
        assert remote.encode("a<|im_end|>", special=True) == local.encode("a<|im_end|>", special=True)
        with pytest.raises(UserError, match=r"reads '<\|im_end\|>' in the text as one special token"):
            remote.encode("a<|im_end|>")
        for id in (2, 57, 306):
            assert remote.spelled(id) == local.spelled(id)
        engine.close()
