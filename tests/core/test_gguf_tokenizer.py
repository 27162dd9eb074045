"""Tokenizers of GGUF files: every cut that llama.cpp knows, ends of turns, settings that are read or refused."""

from pathlib import Path

import pytest
from texts import random_texts
from tokenizer_files import gguf_of, load, trained
from tokenizers import AddedToken

from core.errors import UserError
from core.tokenizers.split_patterns import PRE_TOKENIZERS

TEXTS = random_texts(10_000)[:600:4]


@pytest.mark.parametrize("name", sorted(name for name in PRE_TOKENIZERS if not PRE_TOKENIZERS[name].spaces))
def test_every_cut_that_llama_cpp_knows_is_the_library_s(name: str, tmp_path: Path) -> None:
    """Expressions applied one after the other; the pieces give the text back."""
    reference = trained(name)
    ours = load(gguf_of(tmp_path / "m.gguf", reference, name))
    ids = [ours.inner_ids(text) for text in TEXTS]
    if not (PRE_TOKENIZERS[name].nfc or PRE_TOKENIZERS[name].ignore_merges):
        reference.encode_special_tokens = True
        assert ids == [each.ids for each in reference.encode_batch(TEXTS)]
    if not PRE_TOKENIZERS[name].nfc:
        assert [ours.text(each) for each in ids] == TEXTS


def test_a_gguf_file_without_a_cut_is_read_with_a_warning(tmp_path: Path) -> None:
    """The cut is the one that llama.cpp calls default."""
    reference = trained("default")
    ours = load(gguf_of(tmp_path / "m.gguf", reference, None))
    assert "tokenizer.ggml.pre is missing" in ours.warning
    assert not load(gguf_of(tmp_path / "n.gguf", reference, "default")).warning
    reference.encode_special_tokens = True
    text = "In 2024 it's 3333+777"
    assert ours.encode(text) == reference.encode(text).ids


@pytest.mark.parametrize(
    ("texts", "stops"),
    [
        (["<|eot_id|>", "<end_of_turn>"], ["<|eot_id|>", "<end_of_turn>"]),
        (["<|end|>"], ["<|end|>"]),
        (["<|end|>", "<|return|>", "<|call|>"], ["<|call|>", "<|return|>"]),
        (["</s>", "<|tool_response>"], ["<|tool_response>"]),
    ],
)
def test_gguf_ends_of_turns_are_known_by_their_text(texts: list[str], stops: list[str], tmp_path: Path) -> None:
    """As in llama.cpp, also where the file calls them ordinary tokens; and by the ids of the metadata."""
    reference = trained("gpt-2")
    reference.add_tokens([AddedToken(text, special=False, normalized=False) for text in texts])
    named = reference.token_to_id("<tool>")
    ours = load(gguf_of(tmp_path / "m.gguf", reference, "gpt-2", eot_token_id=named))
    own = ["<tool>", "<|endoftext|>", "<|im_end|>"]
    assert sorted(ours.piece(id).decode() for id in ours.stops) == sorted([*stops, *own])
    assert ours.inner_ids(texts[0]) != ours.inner_ids(texts[0], special=True)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("fancy", 1, "tokenizer.ggml.fancy is 1, which is not supported"),
        ("normalizer.lowercase", True, "tokenizer.ggml.normalizer.lowercase is True, which is not supported"),
        ("eot_token_id", "x", "invalid value for tokenizer.ggml.eot_token_id: 'x'"),
    ],
)
def test_gguf_settings_of_tokenizers_are_read_or_refused_by_name(
    key: str, value: object, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load(gguf_of(tmp_path / "m.gguf", trained("gpt-2"), "gpt-2", **{key: value}))
    assert says in str(caught.value)


def test_gguf_settings_without_effect_are_allowed(tmp_path: Path) -> None:
    says = {
        "add_sep_token": False,
        "middle_token_id": 3,
        "normalizer.lowercase": False,
        "tokenizer.chat_template.x": "y",
    }
    plain = load(gguf_of(tmp_path / "m.gguf", trained("gpt-2"), "gpt-2"))
    assert load(gguf_of(tmp_path / "n.gguf", trained("gpt-2"), "gpt-2", **says)).encode("oat") == plain.encode("oat")
