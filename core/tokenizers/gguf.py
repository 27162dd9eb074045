"""Reads a tokenizer from the metadata of a GGUF file."""

from core.formats.checked import CheckedValues
from core.formats.gguf import StringArray
from core.tokenizers.added_tokens import AddedToken
from core.tokenizers.byte_level import TokenizerData, not_byte_level, parse_merge
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.split_patterns import PRE_TOKENIZERS

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Values of `tokenizer.ggml.token_type`."""
_KEY = "tokenizer.ggml."


def read_gguf(metadata: CheckedValues) -> TokenizerData:
    """The tokenizer that the metadata describes. Raises `UserError` for one that is not supported."""
    if (kind := metadata.get(_KEY + "model", "")) != "gpt2":
        raise not_byte_level(
            metadata.source, f"a {'SentencePiece' if kind == 'llama' else kind or 'nameless'} tokenizer"
        )
    pre_tokenizer = metadata.one_of(_KEY + "pre", PRE_TOKENIZERS, "gpt-2")
    tokens, merges = _strings(metadata, _KEY + "tokens"), _strings(metadata, _KEY + "merges")
    types = metadata.values.get(_KEY + "token_type") or [NORMAL] * len(tokens)
    bos, eos, unknown = (metadata.values.get(f"{_KEY}{name}_token_id") for name in ("bos", "eos", "unknown"))
    ends = (eos, *(metadata.values.get(f"{_KEY}{name}_token_id") for name in ("eot", "eom")))  # end of turn, of message
    add_bos = metadata.get(_KEY + "add_bos_token", pre_tokenizer.add_bos)
    return TokenizerData(
        ids={token: id for id, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == NORMAL},
        merges=map(parse_merge, merges),
        pattern=pre_tokenizer.pattern,
        added=[
            AddedToken(id, token, special=kind == CONTROL)
            for id, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind in (CONTROL, USER_DEFINED)
        ],
        nfc=pre_tokenizer.nfc,
        ignore_merges=pre_tokenizer.ignore_merges,
        unknown_id=unknown,
        bos_ids=(bos,) if add_bos and bos is not None else (),
        end_of_text=eos if bos is None else bos,
        stops=frozenset(id for id in ends if type(id) is int),
        template=_template(metadata, tokens),
    )


def _strings(metadata: CheckedValues, key: str) -> StringArray:
    if not isinstance(value := metadata.values.get(key), StringArray):
        raise metadata.invalid(key, "an array of strings")
    return value


def _template(metadata: CheckedValues, tokens: StringArray) -> ChatTemplate | None:
    source = metadata.get("tokenizer.chat_template", "")
    ids = {name: metadata.values.get(f"{_KEY}{name}_token_id") for name in ("bos", "eos")}
    texts = {f"{name}_token": tokens[id] for name, id in ids.items() if type(id) is int and 0 <= id < len(tokens)}
    return ChatTemplate(source, texts) if source else None
