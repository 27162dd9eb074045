"""Tokenizers from a model's own files: the ids of the reference tokenizer on hostile text, beginnings, broken files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from texts import HALVES, random_texts
from tokenizer_files import CUTS, SPECIAL, folder_of, gguf_of, load, pieces_folder, split, trained
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Reference
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

from core.errors import UserError
from core.loading import tokenizers
from core.tokenizers.model_tokenizer import ModelTokenizer

MANY = random_texts(10_000)
TEXTS = MANY[:600]


def agree(reference: Reference, ours: ModelTokenizer, texts: list[str] = TEXTS) -> None:
    for special in (False, True):
        reference.encode_special_tokens = not special
        for text, expected in zip(texts, reference.encode_batch(texts, add_special_tokens=False), strict=True):
            assert ours.inner_ids(text, special=special) == expected.ids, ascii(text)


@pytest.mark.parametrize("first", [False, True], ids=["special last", "special first"])
@pytest.mark.parametrize("kind", CUTS)
def test_ids_equal_those_of_the_tokenizers_library(kind: str, first: bool, tmp_path: Path) -> None:
    """For every split pattern, whether or not ids equal merge ranks; special tokens as text and as tokens."""
    reference = trained(kind, first=first)
    agree(reference, load(folder_of(reference, tmp_path)), MANY if first else TEXTS)


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
    for text in TEXTS:
        assert "<tool>" in text or ours.encode(text) == reference.encode(text).ids


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


def put_model(**fields: Any) -> Callable[[Reference], object]:
    """Changes a field of the model that the library applies to the merges too."""
    return lambda library: setattr(library, "model", models.BPE(library.get_vocab(False), [], **fields))


REFUSED: dict[str, tuple[Callable[[Reference], object], str]] = {
    "WordPiece": (lambda library: setattr(library, "model", models.WordPiece({"a": 0}, unk_token="a")), "WordPiece"),
    "WordLevel": (lambda library: setattr(library, "model", models.WordLevel({"a": 0}, unk_token="a")), "WordLevel"),
    "dropout": (lambda library: setattr(library.model, "dropout", 0.5), "dropout 0.5"),
    "prefix": (put_model(continuing_subword_prefix="##"), "continuing_subword_prefix '##'"),
    "suffix": (put_model(end_of_word_suffix="</w>"), "end_of_word_suffix '</w>'"),
    "decoder": (lambda library: setattr(library, "decoder", decoders.CTC()), "decoder 'CTC'"),
    "no spaces": (lambda library: setattr(library, "pre_tokenizer", pre_tokenizers.Whitespace()), "spaces"),
    "space": (lambda library: setattr(library, "pre_tokenizer", pre_tokenizers.Metaspace("_")), "'_' for a space"),
    "slow": (
        lambda library: setattr(library, "pre_tokenizer", split("(a|aa)+$b")),
        "step that splits or rewrites text",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_right_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """Kinds and fields whose ids or bytes would differ from the model's."""
    change, named = REFUSED[name]
    reference = trained("gpt-2")
    if name in ("no spaces", "space"):
        reference.decoder = decoders.Fuse()
    change(reference)
    assert named in refusal(folder_of(reference, tmp_path))


def test_files_that_are_no_tokenizer_are_named(tmp_path: Path) -> None:
    """Kinds and cuts of GGUF that are not known, a tokenizer.model of another format, none at all."""
    reference = trained("gpt-2")
    assert "'bert'" in refusal(gguf_of(tmp_path / "a.gguf", reference, "gpt-2", model="bert"))
    assert "'unheard'" in refusal(gguf_of(tmp_path / "b.gguf", reference, "unheard"))
    folder = pieces_folder("llama2", tmp_path / "pieces")
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert "tokenizer.model is not a SentencePiece model" in refusal(folder)
    (folder / "tokenizer.model").unlink()
    assert "tokenizer.json" in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "",
        "null",
        "{}",
        '{"added_tokens": ' + "[" * 100_000,
        f'{{"model": {{"type": "BPE", "vocab": {{"a": 0}}, "merges": ["{"b" * 9_999} a"]}}}}',
    ],
)
def test_a_tokenizer_json_that_is_none_is_one_line(content: str, tmp_path: Path) -> None:
    path = folder_of(trained("gpt-2"), tmp_path) / "tokenizer.json"
    path.write_text(content)
    assert "tokenizer.json" in refusal(tmp_path)
    assert len(refusal(tmp_path)) < 500


STEPS = [
    {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|aa)+$b"}, "behavior": "Isolated", "invert": False}},
    {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a|aa)+$b"}, "content": "x"}},
    {"model": {"continuing_subword_prefix": "a"}},
    {"model": {"invented": 1}},
    {"invented": 1},
]


@pytest.mark.parametrize("change", STEPS)
def test_steps_that_would_end_the_process_are_one_line(
    change: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Some make the library panic, which writes to standard error, or abort."""
    path = folder_of(trained("gpt-2"), tmp_path) / "tokenizer.json"
    values = json.loads(path.read_text())
    changes = {key: values[key] | value if key == "model" else value for key, value in change.items()}
    path.write_text(json.dumps(values | changes))
    assert "tokenizer.json" in refusal(tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("pattern", ["", "x*", "(?=b)"])
def test_patterns_that_match_nothing_are_the_library_s(pattern: str, tmp_path: Path) -> None:
    """An empty one, and matches of no width."""
    reference = trained("gpt-2")
    reference.pre_tokenizer = split(pattern)
    agree(reference, load(folder_of(reference, tmp_path)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values["model"].update(merges=3),
        lambda values: values["model"].update(merges=[["a"]]),
        lambda values: values["model"].update(merges=[["q", "zz"]]),
        lambda values: values["model"].update(vocab=[]),
        lambda values: values.update(added_tokens=[{}]),
        lambda values: values.update(model=None),
        lambda values: values["model"].update(type=3),
        lambda values: values.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}
        ),
        lambda values: values["added_tokens"][0].update(id=5000),
    ],
)
def test_a_corrupt_tokenizer_is_refused(spoil: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    """Missing, impossible or contradictory parts."""
    path = folder_of(trained("gpt-2"), tmp_path) / "tokenizer.json"
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    refusal(tmp_path)


def test_merges_are_of_pairs_by_rank(tmp_path: Path) -> None:
    """Not of any two tokens whose text together is a token."""
    library = Reference(
        models.BPE({"a": 0, "b": 1, "c": 2, "bc": 3, "ab": 4, "abc": 5}, [("b", "c"), ("a", "b"), ("ab", "c")])
    )
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ours = load(folder_of(library, tmp_path))
    assert ours.encode("abc") == [0, 3]


def test_a_byte_level_tokenizer_that_says_byte_fallback_is_read(tmp_path: Path) -> None:
    """As transformers 5 saves one that it read from GGUF."""
    reference = trained("smollm")
    reference.model.byte_fallback = True
    agree(reference, load(folder_of(reference, tmp_path)))


def test_added_tokens_that_are_words_of_the_vocabulary(tmp_path: Path) -> None:
    """With each of their flags, in tokenizer.json; and as user-defined tokens of GGUF."""
    reference = trained("qwen2")
    reference.add_tokens(["house", AddedToken("milk", single_word=True), AddedToken("e\u0301", normalized=True)])
    reference.add_tokens([AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True, normalized=False)])
    texts = ["a house, the warehouse", "milk milkshake \x1cmilk", "cafe\u0301 \u00e9", "x  <l>  y", "x  <r>  y", *TEXTS]
    agree(reference, load(folder_of(reference, tmp_path)), texts)
    plain = trained("qwen2")
    plain.add_tokens([AddedToken("house", normalized=False)])
    agree(plain, load(gguf_of(tmp_path / "m.gguf", plain, "qwen2")), texts)


def test_tokens_that_only_tokenizer_config_names_are_added(tmp_path: Path) -> None:
    """As transformers does: those of added_tokens_decoder, and a named token that is an ordinary word else."""
    reference = trained("gpt-2")
    size = reference.get_vocab_size()
    flags = {"lstrip": False, "rstrip": True, "normalized": False, "single_word": False, "special": True}
    added = {str(size): {"content": "<|eot|>", **flags}}
    folder = folder_of(reference, tmp_path, added_tokens_decoder=added, eos_token="<|eot|>", pad_token="in")
    ours = load(folder)
    reference.add_special_tokens([AddedToken("<|eot|>", rstrip=True, normalized=False), "in"])
    agree(reference, ours, ["a<|eot|>  in b", *TEXTS])
    assert ours.end_of_text == size
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["added_tokens_decoder"] = {str(size + 7): {"content": "<|eot|>", **flags}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "<|eot|>" in refusal(folder)


@pytest.mark.parametrize("config", [{}, {"add_bos_token": True}, {"add_bos_token": False}, {"add_eos_token": True}])
def test_what_stands_around_a_text_is_as_in_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    """The post-processor of tokenizer.json, whatever tokenizer_config.json says; without that file what this says."""
    reference = trained("gpt-2")
    begin, end = reference.token_to_id(SPECIAL[1]), reference.token_to_id(SPECIAL[2])
    reference.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[1]} $A {SPECIAL[2]}", special_tokens=[(SPECIAL[1], begin), (SPECIAL[2], end)]
    )
    folder = folder_of(reference, tmp_path, bos_token=SPECIAL[1], eos_token=SPECIAL[2], **config)
    assert load(folder).encode("oat milk") == PreTrainedTokenizerFast.from_pretrained(folder)("oat milk").input_ids
    vocabulary = {**reference.get_vocab(with_added_tokens=True)}
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = json.loads(reference.to_str())["model"]["merges"]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)))
    expected = GPT2Tokenizer.from_pretrained(folder)
    assert load(folder).encode("oat milk") == expected("oat milk").input_ids


@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_a_model_that_takes_the_place_of_another_has_its_own_tokenizer(form: str, tmp_path: Path) -> None:
    path, text = tmp_path / "m.gguf", "In 2024 it's 3333"
    if form == "folder":
        path = tmp_path
    for kind in ("smollm", "gpt-2"):
        library = trained(kind)
        _ = gguf_of(path, library, kind) if form == "gguf" else folder_of(library, path)
        assert tokenizers.load_model_tokenizer(path, "m").encode(text) == library.encode(text).ids
        assert tokenizers.load_model_tokenizer(path, "m") is tokenizers.load_model_tokenizer(path, "m")
