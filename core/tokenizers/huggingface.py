"""Reads a tokenizer from a folder in the layout of Hugging Face: tokenizer.json, or vocab.json and merges.txt."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.bounded import read_file
from core.errors import UserError
from core.formats.checked import CheckedValues, read_json
from core.tokenizers.added_tokens import AddedToken
from core.tokenizers.byte_level import TokenizerData, not_byte_level, parse_merge
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.split_patterns import DIGITS_THEN_GPT2, GPT2, QWEN2
from core.tokenizers.tokenizer import END_OF_TEXT


def read_folder(folder: Path, config: CheckedValues) -> TokenizerData:
    """The tokenizer in a folder whose config.json is `config`. Raises `UserError` for one that is not supported."""
    if (folder / "tokenizer.json").exists():
        return _tokenizer_json(folder, config)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        return _vocab_and_merges(folder, config)
    if (folder / "tokenizer.model").exists():
        raise not_byte_level("tokenizer.model", "a SentencePiece tokenizer")
    raise UserError(f"{folder} has no tokenizer.json, nor vocab.json and merges.txt; download the model again")


# tokenizer.json ------------------------------------------------------------------------------------------------------


def _tokenizer_json(folder: Path, config: CheckedValues) -> TokenizerData:
    file = read_json(folder / "tokenizer.json")
    model, values = file.optional_object("model"), file.values
    steps = _flatten(values.get("pre_tokenizer"), "pretokenizers")
    normalizers = _flatten(values.get("normalizer"), "normalizers")
    if (kind := model.get("type", "BPE")) != "BPE":
        raise not_byte_level(file.source, f"a {kind} tokenizer")
    if not any(step["type"] == "ByteLevel" for step in steps) or model.get("byte_fallback", False):
        raise not_byte_level(file.source, "a SentencePiece tokenizer")
    if others := [step["type"] for step in normalizers if step["type"] != "NFC"]:
        raise not_byte_level(file.source, f"a tokenizer with the normalizer {others[0]}")
    added = [
        AddedToken(each["id"], each["content"], each["special"], each["lstrip"], each["rstrip"])
        for each in values.get("added_tokens", [])
    ]
    added_ids = {each.content: each.id for each in added}
    ids = {token: id for token, id in model.values["vocab"].items() if token not in added_ids}
    all_ids = added_ids | ids
    return TokenizerData(
        ids=ids,
        merges=map(parse_merge, model.values["merges"]),
        pattern=_pattern(steps, file.source),
        added=added,
        nfc=bool(normalizers),
        add_prefix_space=any(step.get("add_prefix_space") for step in steps),
        ignore_merges=model.get("ignore_merges", False),
        unknown_id=all_ids.get(model.get("unk_token", "")),
        bos_ids=_bos_ids(values.get("post_processor")),
        end_of_text=_end_of_text(folder, config, all_ids),
        stops=_stops(folder, config),
        template=_template(folder),
    )


def _flatten(step: Any, key: str) -> list[dict[str, Any]]:
    """The steps of a step; one of type Sequence has them under `key`."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [each for inner in step[key] for each in _flatten(inner, key)]
    return [step]


def _pattern(steps: Sequence[dict[str, Any]], source: str) -> str:
    """One regular expression for all steps that split a text. Raises `UserError` where there is none."""
    splits = [step for step in steps if step["type"] != "ByteLevel" or step.get("use_regex", True)]
    match [step["type"] for step in splits]:
        case ["ByteLevel"]:
            return GPT2
        case ["Digits", "ByteLevel"] if splits[0]["individual_digits"]:
            return DIGITS_THEN_GPT2
        case ["Split"] if splits[0]["behavior"] == "Isolated" and not splits[0].get("invert"):
            pattern = splits[0]["pattern"]
            return pattern["Regex"] if "Regex" in pattern else re.escape(pattern["String"])
    types = ", ".join(step["type"] for step in splits) or "nothing"
    raise UserError(
        f"{source}: pre_tokenizer splits text by {types}, which is not supported "
        "(supported: ByteLevel; Digits and ByteLevel; Split); choose another model"
    )


def _bos_ids(post_processor: Any) -> tuple[int, ...]:
    """The special tokens that a template puts before a text."""
    for step in _flatten(post_processor, "processors"):
        if step["type"] == "TemplateProcessing":
            names = [part["SpecialToken"]["id"] for part in step["single"] if "SpecialToken" in part]
            before = next(n for n, part in enumerate(step["single"]) if "Sequence" in part)
            return tuple(id for name in names[:before] for id in step["special_tokens"][name]["ids"])
    return ()


# vocab.json and merges.txt -------------------------------------------------------------------------------------------


def _vocab_and_merges(folder: Path, config: CheckedValues) -> TokenizerData:
    tokenizer_config = _tokenizer_config(folder)
    qwen = config.get("model_type", "").startswith("qwen")
    ids = read_json(folder / "vocab.json").values
    lines = read_file(folder / "merges.txt").decode("utf-8").split("\n")
    added = {
        int(id): AddedToken(
            int(id),
            each["content"],
            each.get("special", True),
            each.get("lstrip", False),
            each.get("rstrip", False),
        )
        for id, each in tokenizer_config.optional_object("added_tokens_decoder").values.items()
    }
    if END_OF_TEXT in ids:
        added.setdefault(ids[END_OF_TEXT], AddedToken(ids[END_OF_TEXT], END_OF_TEXT, special=True))
    added_ids = {each.content: each.id for each in added.values()}
    end_of_text = _end_of_text(folder, config, added_ids)
    add_bos = tokenizer_config.get("add_bos_token", False)
    return TokenizerData(
        ids={token: id for token, id in ids.items() if token not in added_ids},
        merges=(parse_merge(line) for line in lines if line and not line.startswith("#version")),
        pattern=QWEN2 if qwen else GPT2,
        added=list(added.values()),
        nfc=qwen,
        add_prefix_space=tokenizer_config.get("add_prefix_space", False),
        bos_ids=(end_of_text,) if add_bos and end_of_text is not None else (),
        end_of_text=end_of_text,
        stops=_stops(folder, config),
        template=_template(folder),
    )


# What both share -----------------------------------------------------------------------------------------------------


def _tokenizer_config(folder: Path) -> CheckedValues:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else CheckedValues(path.name, {})


def _token_text(value: Any) -> Any:
    """The text of a token, which tokenizer_config.json has as a string or as an object with `content`."""
    return value.get("content") if isinstance(value, dict) else value


def _end_of_text(folder: Path, config: CheckedValues, ids: Mapping[str, int]) -> int | None:
    """The token that begins texts, or else the one that ends them, as the tokenizer or the model names it."""
    values = _tokenizer_config(folder).values
    for key in ("bos_token", "eos_token"):
        content = _token_text(values.get(key))
        if isinstance(content, str) and content in ids:
            return ids[content]
        if isinstance(id := config.values.get(f"{key}_id"), int):
            return id
    return None


def _stops(folder: Path, config: CheckedValues) -> frozenset[int]:
    """The ids that end a text by generation_config.json, or else by config.json."""
    path = folder / "generation_config.json"
    for values in (read_json(path).values if path.exists() else {}, config.values):
        eos = values.get("eos_token_id")
        if found := {id for id in (eos if isinstance(eos, list) else [eos]) if type(id) is int}:
            return frozenset(found)
    return frozenset()


def _template(folder: Path) -> ChatTemplate | None:
    """The chat template: a file, or a value of tokenizer_config.json, which may be a list with one named `default`."""
    values = _tokenizer_config(folder).values
    path = folder / "chat_template.jinja"
    source = read_file(path).decode("utf-8") if path.exists() else values.get("chat_template")
    if isinstance(source, list):
        source = {each.get("name"): each.get("template") for each in source}.get("default")
    if not isinstance(source, str):
        return None
    texts = {key: _token_text(value) for key, value in values.items() if key.endswith("_token")}
    return ChatTemplate(source, {key: text for key, text in texts.items() if isinstance(text, str)})
