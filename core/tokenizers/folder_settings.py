"""What the files beside a tokenizer say: tokenizer_config.json, generation_config.json, the chat template."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken as LibraryToken
from tokenizers import Tokenizer as Library

from core.bounded import read_file
from core.errors import UserError
from core.formats.checked import CheckedValues, read_json
from core.language import _
from core.tokenizers.chat_template import ChatTemplate

IdOf = Callable[[str], int | None]
_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class FolderSettings:
    """The settings of a folder whose config.json is `config`. Raises `UserError` for one that is not supported."""

    def __init__(self, folder: Path, config: CheckedValues) -> None:
        self._folder, self._config = folder, config
        self.tokenizer = _optional(folder / "tokenizer_config.json")
        self._is_old = not self.tokenizer.values.get("added_tokens_decoder")
        self._special_map = _optional(folder / "special_tokens_map.json").values if self._is_old else {}
        self.tokenizer.require("split_special_tokens", False)

    @property
    def is_qwen(self) -> bool:
        """Whether config.json is of a family with Qwen's cut of the text."""
        return self._config.get("model_type", "").startswith("qwen")

    def named(self) -> dict[str, str]:
        """The texts of special tokens by name, such as `bos_token`."""
        values = {**self.tokenizer.values, **self._special_map}
        texts = {f"{name}_token": _content(values.get(f"{name}_token")) for name in _NAMED}
        return {name: text for name, text in texts.items() if text is not None}

    def added_tokens(self) -> Iterator[tuple[int, LibraryToken]]:
        """The added tokens of tokenizer_config.json and, of older folders, of added_tokens.json, by id."""
        tokens = {}
        older = self._folder / "added_tokens.json"
        for content, id in (read_json(older).values if older.exists() and self._is_old else {}).items():
            special = content in self.named().values()
            tokens[int(id)] = LibraryToken(content, normalized=not special, special=special)
        for id, each in self.tokenizer.optional_object("added_tokens_decoder").values.items():
            flags = {key: bool(each.get(key, False)) for key in ("lstrip", "rstrip", "normalized", "single_word")}
            tokens[int(id)] = LibraryToken(each["content"], special=bool(each.get("special", False)), **flags)
        return iter(sorted(tokens.items()))

    def add_tokens(self, library: Library) -> None:
        """Give the library the tokens that only these files know, as transformers does."""
        known = {token.content for token in library.get_added_tokens_decoder().values()}
        for id, token in self.added_tokens():
            if token.content in known:
                continue
            library.add_tokens([token])
            if (read := library.token_to_id(token.content)) != id:
                raise self.tokenizer.error(
                    _("added_tokens_decoder has the id {id} for {content!r}, not {read}").format(
                        id=id, content=token.content, read=read
                    )
                )
        known = {token.content for token in library.get_added_tokens_decoder().values()}
        for text in self.named().values():
            if text not in known and library.token_to_id(text) is not None:
                library.add_special_tokens([LibraryToken(text, normalized=False, special=True)])

    def around(self, id_of: IdOf, *, by_default: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids before and after a text by tokenizer_config.json, which matters where there is no tokenizer.json.

        Where it says one of `add_bos_token` and `add_eos_token`, the other is false. Where it says neither and
        `by_default`, a text begins with BOS (Llama 2, Gemma), or ends with EOS if there is no BOS (T5).
        """
        names = self.named()
        ids = [id_of(names[key]) if key in names else None for key in ("bos_token", "eos_token")]
        says = [self.tokenizer.values.get(key) for key in ("add_bos_token", "add_eos_token")]
        if says == [None, None] and by_default:
            says = [True, ids[0] is None]
        before, after = ((id,) if said and id is not None else () for said, id in zip(says, ids, strict=True))
        return before, after

    def end_of_text(self, id_of: IdOf) -> int | None:
        """The token that begins texts, or else the one that ends them, as the tokenizer or the model names it."""
        names = self.named()
        for key in ("bos_token", "eos_token"):
            if key in names and (id := id_of(names[key])) is not None:
                return id
            if isinstance(id := self._config.values.get(f"{key}_id"), int):
                return id
        return None

    def stops(self) -> frozenset[int]:
        """The ids that end a text by generation_config.json, or else by config.json."""
        for values in (_optional(self._folder / "generation_config.json"), self._config):
            eos = values.values.get("eos_token_id")
            ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
            if any(type(id) is not int for id in ids):
                raise values.invalid("eos_token_id", _("an id or a list of ids"))
            if ids:
                return frozenset(ids)
        return frozenset()

    def template(self) -> ChatTemplate | None:
        """The chat template: a file, or a value of tokenizer_config.json, which may be a list with one named `default`.

        Raises `UserError` where there are several and none is called `default`.
        """
        path = self._folder / "chat_template.jinja"
        source = read_file(path).decode("utf-8") if path.exists() else self.tokenizer.values.get("chat_template")
        if isinstance(source, list):
            by_name = {each.get("name"): each.get("template") for each in source}
            source = by_name.get("default")
            if source is None:
                names = ", ".join(map(repr, by_name))
                raise UserError(
                    _("{source}: no chat template is called 'default' (there are: {names})"),
                    source=self.tokenizer.source,
                    names=names,
                )
        return ChatTemplate(source, self.named()) if isinstance(source, str) else None


def _optional(path: Path) -> CheckedValues:
    return read_json(path) if path.exists() else CheckedValues(path.name, {})


def _content(value: Any) -> str | None:
    """The text of a token, which the files have as a string or as an object with `content`."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None
