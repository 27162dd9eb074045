"""Reads a tokenizer from a folder in the layout of Hugging Face.

In this order: tokenizer.json, vocab.json with merges.txt, tokenizer.model. Fields that are not named here are the
tokenizers library's own, or have no effect on ids: padding, truncation, model_max_length, clean_up_tokenization_spaces
and other settings of decoding and of training.
"""

import reprlib
from dataclasses import replace
from pathlib import Path

from tokenizers import AddedToken as LibraryToken
from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from core.bounded import read_file
from core.errors import UserError
from core.formats.checked import CheckedValues, read_json
from core.language import _
from core.tokenizers import trial
from core.tokenizers.added_tokens import AddedToken
from core.tokenizers.folder_settings import FolderSettings
from core.tokenizers.library import LibraryEncoder, around, flatten, parse_merge, state
from core.tokenizers.model_tokenizer import TokenizerData
from core.tokenizers.pieces import SPACE, ToBytes, byte_level, spaced, spaced_without_bytes
from core.tokenizers.sentencepiece import SentencePieceEncoder, read_model
from core.tokenizers.split_patterns import QWEN2
from core.tokenizers.tokenizer import END_OF_TEXT

Ends = tuple[tuple[int, ...], tuple[int, ...]]
LONGEST_REASON = 300
"""Characters of a reason of the library in an error; it may quote a token of any length."""
_DECODERS = ("ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip")
"""Decoders after which the bytes of a token do not depend on its neighbors, but for a space at the beginning."""


def read_folder(folder: Path, config: CheckedValues) -> TokenizerData:
    """The tokenizer in a folder whose config.json is `config`. Raises `UserError` for one that is not supported."""
    settings = FolderSettings(folder, config)
    if (folder / "tokenizer.json").exists():
        library = _tokenizer_json(folder / "tokenizer.json")
        return _from_library(library, settings, "tokenizer.json", around(library.post_processor))
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        library = _vocab_and_merges(folder, settings)
        return _from_library(library, settings, "vocab.json", settings.around(library.token_to_id, by_default=False))
    if (folder / "tokenizer.model").exists():
        return _sentencepiece(folder / "tokenizer.model", settings)
    raise UserError(
        _(
            "{folder} has no tokenizer.json, nor vocab.json and merges.txt, nor tokenizer.model; download the model "
            "again"
        ),
        folder=folder,
    )


def unsupported(source: str, found: str) -> UserError:
    """The error for a file that holds another kind of tokenizer."""
    return UserError(
        _(
            "{source}: {found} is not supported (supported: BPE and Unigram whose tokens decode to the same text, as "
            "in GPT-2, Llama, Gemma, Qwen and T5); choose another model"
        ),
        source=source,
        found=found,
    )


# tokenizer.json ------------------------------------------------------------------------------------------------------


_PARTS = ("normalizer", "pre_tokenizer", "decoder")
_FIELDS = ("version", "truncation", "padding", "added_tokens", "post_processor", "model", *_PARTS)
_MODEL_FIELDS = {
    "BPE": {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback"}
    | {"ignore_merges", "vocab", "merges"},
    "Unigram": {"unk_id", "vocab", "byte_fallback"},
}


def _tokenizer_json(path: Path) -> Library:
    added = _checked_added_tokens(read_json(path))  # the rest of what was read is dropped before the library reads it
    try:
        library = Library.from_str(read_file(path).decode())
    except Exception as error:  # the library raises no narrower one
        reason = (str(error).splitlines() or [type(error).__name__])[0][:LONGEST_REASON]
        raise UserError(
            _("{file} cannot be read ({reason}); download the model again"), file=path.name, reason=reason
        ) from error
    for token, id in added:
        if token and (read := library.token_to_id(token)) != id:
            raise UserError(
                _(
                    "{file}: the added token {token} has the id {id}, but the tokenizers library reads it as {read}; "
                    "download the model again"
                ),
                file=path.name,
                token=reprlib.repr(token),
                id=id,
                read=read,
            )
    return library


def _checked_added_tokens(file: CheckedValues) -> list[tuple[str, int]]:
    """The added tokens of a tokenizer.json. Raises `UserError` for a file that `_check` refuses."""
    _check(file)
    tokens = file.objects("added_tokens", "added token") if "added_tokens" in file.values else []
    return [(each.text("content"), each.integer("id")) for each in tokens]


def _check(file: CheckedValues) -> None:
    """Raise `UserError` where ids or bytes could not be right, or the library would end the process."""
    model = file.object("model")
    kind = model.values.get("type") or ("BPE" if "merges" in model.values else None)
    if not isinstance(kind, str) or kind not in _MODEL_FIELDS:
        raise unsupported(file.source, _("a tokenizer of type {kind}").format(kind=reprlib.repr(kind)))
    for where, known in ((file, _FIELDS), (model, {"type", *_MODEL_FIELDS[kind]})):
        if unknown := [key for key in where.values if key not in known]:
            raise unsupported(where.source, _("the field {name}").format(name=reprlib.repr(unknown[0])))
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if value := model.values.get(name):
            raise unsupported(
                file.source, _("{name} {value} of the model").format(name=name, value=reprlib.repr(value))
            )
    parts = {name: file.values.get(name) for name in _PARTS}
    for step in flatten(parts["decoder"]):
        if step["type"] not in _DECODERS:
            raise unsupported(file.source, _("the decoder {kind}").format(kind=reprlib.repr(step["type"])))
    trial.check(parts, file.source)


def _to_bytes(library: Library, source: str) -> tuple[ToBytes, bool]:
    """How tokens spell their bytes, and whether the first token of a text has a space that the text has not."""
    decoders = flatten(state(library.decoder))
    steps = [*decoders, *flatten(state(library.pre_tokenizer)), *flatten(state(library.normalizer))]
    types = [step["type"] for step in steps]
    if "ByteLevel" in types:
        return byte_level, any(step.get("add_prefix_space") for step in steps if step["type"] == "ByteLevel")
    replaced = {step.get("content", "") for step in steps if step["type"] == "Replace"}
    if "Metaspace" not in types and not replaced & {" ", SPACE}:
        raise unsupported(source, _("a tokenizer whose tokens do not mark where spaces are"))
    if others := {step["replacement"] for step in steps if step["type"] == "Metaspace"} - {SPACE}:
        raise unsupported(
            source, _("the character {character} for a space").format(character=reprlib.repr(others.pop()))
        )
    metaspace = [step for step in steps if step["type"] == "Metaspace"]
    prefix = "Prepend" in types or any(step.get("prepend_scheme", "always") != "never" for step in metaspace)
    return spaced if "ByteFallback" in types else spaced_without_bytes, prefix


# vocab.json and merges.txt -------------------------------------------------------------------------------------------


def _vocab_and_merges(folder: Path, settings: FolderSettings) -> Library:
    lines = read_file(folder / "merges.txt").decode("utf-8").split("\n")
    merges = [parse_merge(line) for line in lines if line and not line.startswith("#version")]
    ids = read_json(folder / "vocab.json").values
    library = Library(models.BPE(dict(ids), merges))
    if END_OF_TEXT in ids:
        library.add_special_tokens([LibraryToken(END_OF_TEXT, normalized=False, special=True)])
    byte_level_step = pre_tokenizers.ByteLevel(
        add_prefix_space=settings.tokenizer.get("add_prefix_space", False), use_regex=not settings.is_qwen
    )
    library.pre_tokenizer = byte_level_step
    if settings.is_qwen:
        library.normalizer = normalizers.NFC()
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(QWEN2), "isolated"), byte_level_step]
        )
    return library


def _from_library(library: Library, settings: FolderSettings, source: str, ends: Ends) -> TokenizerData:
    settings.add_tokens(library)
    added = library.get_added_tokens_decoder()
    to_bytes, prefix_space = _to_bytes(library, source)
    return TokenizerData(
        encoder=LibraryEncoder(library, source),
        to_bytes=to_bytes,
        verbatim={id: token.content for id, token in added.items()},
        special=frozenset(id for id, token in added.items() if token.special),
        begin=ends[0],
        end=ends[1],
        prefix_space=prefix_space,
        end_of_text=settings.end_of_text(library.token_to_id),
        stops=settings.stops(),
        template=settings.template(),
    )


# tokenizer.model -----------------------------------------------------------------------------------------------------


def _sentencepiece(path: Path, settings: FolderSettings) -> TokenizerData:
    proto = read_file(path)
    try:
        model = read_model(proto)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            _("{file} is not a SentencePiece model (its fields cannot be read); get the model with a tokenizer.json"),
            file=path.name,
        ) from error
    if model.suffix:
        raise unsupported(path.name, "treat_whitespace_as_suffix")
    settings.tokenizer.require("do_lower_case", False)
    if options := settings.tokenizer.values.get("sp_model_kwargs"):
        raise unsupported(settings.tokenizer.source, f"sp_model_kwargs {reprlib.repr(options)}")
    if not settings.tokenizer.get("add_prefix_space", True):
        model = replace(model, add_prefix=False)
    tokens = [
        AddedToken(id, each.content, each.special, each.lstrip, each.rstrip, each.single_word)
        for id, each in settings.added_tokens()
    ]
    legacy = settings.tokenizer.get("legacy", False)
    encoder = SentencePieceEncoder(model, tokens, path.name, prefix_after_added=legacy)
    own_special = {id: encoder.token(id) or "" for id in encoder.special_ids()}
    ids = {content: id for id, content in own_special.items()} | {each.content: each.id for each in tokens}
    begin, end = settings.around(ids.get, by_default=True)
    return TokenizerData(
        encoder=encoder,
        to_bytes=spaced,
        verbatim=own_special | {each.id: each.content for each in tokens},
        special=frozenset(own_special) | {each.id for each in tokens if each.special},
        begin=begin,
        end=end,
        prefix_space=model.add_prefix,
        end_of_text=settings.end_of_text(ids.get),
        stops=settings.stops(),
        template=settings.template(),
    )
