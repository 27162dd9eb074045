"""Vocabularies of SentencePiece, from tokenizer.model, GGUF and tokenizer.json: ids and bytes of the references."""

import json
from pathlib import Path
from typing import Any

import pytest
from texts import HALVES, random_texts
from tokenizer_files import PIECES, folder_of, gguf_of, load, pieces, pieces_folder, pieces_gguf, processor, write_gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from core.errors import UserError
from core.tokenizers.model_tokenizer import ModelTokenizer
from core.tokenizers.tokenizer import Decoder

TEXTS = random_texts(10_000)
EXACT = ["llama2", "gemma", "unigram"]
"""Kinds that rewrite nothing."""


@pytest.mark.parametrize("kind", PIECES)
def test_ids_of_tokenizer_model_are_those_of_sentencepiece(kind: str, tmp_path: Path) -> None:
    ours = load(pieces_folder(kind, tmp_path))
    assert [ours.inner_ids(text) for text in TEXTS] == processor(kind).encode(TEXTS)


@pytest.mark.parametrize("kind", PIECES)
def test_ids_of_a_gguf_file_are_those_of_sentencepiece(kind: str, tmp_path: Path) -> None:
    """Merged by score (`llama`) and the likeliest pieces (`t5`), with its normalization."""
    ours = load(pieces_gguf(kind, tmp_path / "m.gguf"))
    texts = [text for text in TEXTS if "<tool>" not in text and "\n\n" not in text and "▁▁▁" not in text]
    assert [ours.inner_ids(text) for text in texts] == processor(kind).encode(texts)


@pytest.mark.parametrize("kind", EXACT)
def test_tokens_give_the_text_back(kind: str, tmp_path: Path) -> None:
    """Byte by byte, token by token, and without the space that the tokenizer puts before a text."""
    ours = load(pieces_folder(kind, tmp_path, add_bos_token=True))
    for text in TEXTS[::10]:
        text = text.replace("▁", "_")  # noqa: PLW2901  # it stands for a space here
        ids = ours.encode(text)
        assert b"".join(ours.spell(ids)) == text.encode()
        assert ours.written(ids) == text
        decoder = Decoder()
        one_by_one = "".join(decoder.feed(piece) for piece in ours.spell(ids)) + decoder.finish()
        assert one_by_one == text
        assert b"".join(map(ours.piece, ours.continuation(text))) == text.encode()


def test_bytes_of_tokens(tmp_path: Path) -> None:
    """`▁` is a space, `<0xE2>` a byte, a control token its name, an unknown character nothing."""
    ours = load(pieces_folder("llama2", tmp_path))
    model = processor("llama2")
    assert ours.piece(model.piece_to_id("▁the")) == b" the"
    assert ours.piece(model.piece_to_id("<0xE2>")) == b"\xe2"
    assert (ours.piece(1), ours.spelled(1)) == (b"<s>", b"")
    assert ours.piece(960) == b"<|unused 960|>"
    with pytest.raises(UserError):
        ours.piece(1000)
    unknown = load(pieces_folder("t5", tmp_path))
    assert [unknown.spelled(id) for id in unknown.inner_ids("日")][-1] == b""


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path: Path) -> None:
    ours = load(pieces_folder("llama2", tmp_path))
    for text in HALVES:
        assert ours.written(ours.encode(text)) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize(
    ("kind", "config", "around"),
    [
        ("llama2", {}, ([1], [])),
        ("llama2", {"add_bos_token": False}, ([], [])),
        ("llama2", {"add_bos_token": True, "add_eos_token": True}, ([1], [2])),
        ("t5", {}, ([], [1])),
    ],
)
def test_what_stands_around_a_text_of_a_tokenizer_model(
    kind: str, config: dict[str, Any], around: tuple[list[int], list[int]], tmp_path: Path
) -> None:
    """Llama begins with BOS, T5 ends with EOS, unless tokenizer_config.json says something else."""
    ours = load(pieces_folder(kind, tmp_path, **config))
    assert ours.encode("oat") == around[0] + processor(kind).encode("oat") + around[1]
    assert ours.written(ours.encode("oat")) == "oat"


def test_tokenizer_config_may_leave_out_the_space_before_a_text(tmp_path: Path) -> None:
    """And settings that would make other ids are refused by name."""
    ours = load(pieces_folder("llama2", tmp_path, add_prefix_space=False))
    assert ours.inner_ids("oat") == ours.continuation("oat") != processor("llama2").encode("oat")
    for name, value in (("sp_model_kwargs", {"enable_sampling": True}), ("do_lower_case", True)):
        with pytest.raises(UserError, match=name):
            load(pieces_folder("llama2", tmp_path, **{name: value}))
    with pytest.raises(UserError, match="split_special_tokens"):
        load(pieces_folder("llama2", tmp_path, split_special_tokens=True))


def test_gguf_metadata_decides_what_stands_around_a_text(tmp_path: Path) -> None:
    """`llama` begins with BOS where the file does not say, `t5` ends with EOS."""
    oat = processor("llama2").encode("oat")
    assert load(pieces_gguf("llama2", tmp_path / "a.gguf")).encode("oat") == [1, *oat]
    assert load(pieces_gguf("llama2", tmp_path / "b.gguf", add_bos_token=False)).encode("oat") == oat
    assert load(pieces_gguf("t5", tmp_path / "c.gguf")).encode("oat")[-1] == 1


def test_special_tokens_in_a_text_of_a_gguf_file(tmp_path: Path) -> None:
    """As in llama.cpp they are tokens only where asked for, and the text after one begins with a space again."""
    ours, model = load(pieces_gguf("llama2", tmp_path / "m.gguf")), processor("llama2")
    assert ours.encode("<s>oat</s>milk", special=True) == [1, *model.encode("oat"), 2, *model.encode("milk")]
    assert ours.encode("<s>oat") == [1, *model.encode("<s>oat")]
    ids, starts = ours.inner_starts("<s>oat</s> milk", special=True)
    assert [starts[ids.index(1)], starts[ids.index(2)]] == [0, 6]
    assert starts == sorted(starts)


def test_added_tokens_of_phi_3_take_the_white_space_after_them(tmp_path: Path) -> None:
    """Which a GGUF file does not say; llama.cpp knows it by the name of the model."""
    ours, model = (
        load(pieces_gguf("llama2", tmp_path / "m.gguf", **{"general.name": "Phi-3 mini"})),
        processor("llama2"),
    )
    assert ours.encode("</s>\n oat", special=True) == [1, 2, *model.encode("oat")]
    assert ours.encode("<s> oat", special=True) == [1, *model.encode(" oat")]
    ids, starts = ours.inner_starts("a</s>\n oat", special=True)
    assert starts[ids.index(2) + 1] == 7


def test_tokens_with_one_text_and_tokens_without_text_are_read(tmp_path: Path) -> None:
    """The later of two ids is the one that texts are encoded to; both have their bytes."""
    texts = ["<unk>", "<s>", "</s>", "▁a", "a", "", "a", "▁"]
    ours = load(write_gguf(tmp_path / "m.gguf", texts, [2, 3, 3, 1, 1, 1, 1, 1], {"model": "llama"}))
    assert ours.encode("a a") == [1, 3, 3]
    assert ours.continuation("aa") == [6, 6]
    assert (ours.piece(4), ours.piece(6), ours.piece(7)) == (b"a", b"a", b" ")


@pytest.mark.parametrize("spoil", [{"scores": [0.5]}, {"scores": "x"}, {"precompiled_charsmap": [9] * 40}])
def test_a_corrupt_vocabulary_is_refused(spoil: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(pieces_gguf("t5", tmp_path / "m.gguf", **spoil))
    assert len(str(caught.value).splitlines()) == 1


def test_a_tokenizer_model_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    folder = pieces_folder("llama2", tmp_path)
    for size in (0, 1, 100, len(pieces("llama2")) - 1):
        (folder / "tokenizer.model").write_bytes(pieces("llama2")[:size])
        with pytest.raises(UserError, match=r"tokenizer\.model"):
            load(folder)


# tokenizer.json of such models ---------------------------------------------------------------------------------------


def spaced(kind: str) -> Tokenizer:
    """A trained tokenizer with the steps of a family."""
    unigram = kind == "t5"
    library = Tokenizer(
        models.Unigram() if unigram else models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if kind == "llama2":
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif kind == "gemma":
        library.normalizer = normalizers.Replace(" ", "▁")
        library.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    elif kind == "mistral":
        library.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    else:
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        library.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), spaces])
        library.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    end = [decoders.Strip(" ", 1, 0)] if kind in ("llama2", "mistral") else []
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *end])
    if unigram:
        library.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"]
    options = {"show_progress": False, "vocab_size": 800, "special_tokens": special}
    if unigram:
        trainer: Any = trainers.UnigramTrainer(unk_token="<unk>", **options)
    else:
        trainer = trainers.BpeTrainer(
            initial_alphabet=list("abcdefghijklmnopqrstuvwxyz▁"),
            **options | {"special_tokens": special + [f"<0x{byte:02X}>" for byte in range(256)]},
        )
    words = Path(__file__).read_text(encoding="utf-8").split()
    library.train_from_iterator([" ".join(words[at : at + 9]) for at in range(0, len(words), 9)], trainer)
    library = without_special_bytes(library)
    library.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    library.add_tokens([AddedToken("<tool>", normalized=False, rstrip=True)])
    return library


def without_special_bytes(library: Tokenizer) -> Tokenizer:
    """Byte tokens as models have them: in the vocabulary, and not added."""
    values = json.loads(library.to_str())
    values["added_tokens"] = [token for token in values["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(values))


@pytest.mark.parametrize("kind", ["llama2", "gemma", "mistral", "t5"])
def test_ids_of_tokenizer_json_are_those_of_tokenizers_and_transformers(kind: str, tmp_path: Path) -> None:
    """With BOS, with special tokens as text and as tokens."""
    library = spaced(kind)
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    ours = load(folder_of(library, tmp_path, **names))
    expected = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[:500]).input_ids
    assert [ours.encode(text, special=True) for text in TEXTS[:500]] == expected
    for special in (False, True):
        library.encode_special_tokens = not special
        found = library.encode_batch(TEXTS, add_special_tokens=False)
        assert [ours.inner_ids(text, special=special) for text in TEXTS] == [each.ids for each in found]


@pytest.mark.parametrize("kind", ["llama2", "gemma", "mistral"])
def test_tokens_of_tokenizer_json_give_the_text_back(kind: str, tmp_path: Path) -> None:
    ours = load(folder_of(spaced(kind), tmp_path))
    for text in TEXTS[::10]:
        text = text.replace("▁", "_").replace("<tool>", "")  # noqa: PLW2901
        if kind == "mistral" and text.startswith(" "):
            continue  # the library puts no space before a space, so one cannot be told from the other
        assert ours.written(ours.encode(text)) == text
        assert b"".join(map(ours.piece, ours.continuation(text))) == text.encode()


def check_bounds(ours: ModelTokenizer, text: str) -> None:
    ids, starts = ours.inner_starts(text, special=True)
    assert ids == ours.inner_ids(text, special=True)
    assert starts == sorted(starts)
    assert all(0 <= start <= len(text) for start in starts)


@pytest.mark.parametrize("kind", ["llama2", "gemma", "t5"])
def test_every_token_starts_at_a_character_of_the_text(kind: str, tmp_path: Path) -> None:
    """From each kind of file; starts never go back."""
    readers = [load(pieces_folder(kind, tmp_path / "a")), load(pieces_gguf(kind, tmp_path / "m.gguf"))]
    for ours in [*readers, load(folder_of(spaced(kind), tmp_path / "b"))]:
        for text in TEXTS[:300]:
            check_bounds(ours, text)


def test_a_vocabulary_with_merges_and_spaces_in_gguf(tmp_path: Path) -> None:
    """Gemma 4: merges over plain text with `▁`, parts between line breaks, bytes as tokens."""
    library = spaced("gemma")
    library.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|[\n]+"), "isolated")
    ours = load(gguf_of(tmp_path / "m.gguf", library, None, model="gemma4", bos_token_id=1, unknown_token_id=0))
    library.encode_special_tokens = True
    texts = [text for text in TEXTS[:2000] if "<tool>" not in text]
    assert [ours.inner_ids(text) for text in texts] == [
        each.ids for each in library.encode_batch(texts, add_special_tokens=False)
    ]
    assert ours.encode("x")[0] == 1
    assert not ours.warning
