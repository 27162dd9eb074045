"""Encodes with the tokenizers library, which is the reference for tokenizer.json and for byte-level BPE."""

import json
import reprlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer as Library

from core.errors import UserError
from core.language import _
from core.tokenizers.tokenizer import split_long_whitespace

_EMPTY = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}


class LibraryEncoder:
    """A tokenizer of the library, for any thread. `source` begins the text of errors.

    A text may hold special tokens; whether they are found is a setting of the library's object, so a lock holds it.
    """

    def __init__(self, library: Library, source: str) -> None:
        library.no_padding()
        library.no_truncation()
        self.library, self._source, self._lock = library, source, threading.Lock()
        self.kind = type(library.model).__name__
        self._inside = self._without_prefix()

    def ids(self, text: str, special: bool) -> list[int]:
        """Ids of `text`, without those that a template puts around it."""
        return [id for encoding, _ in self._encodings(text, special) for id in encoding.ids]

    def starts(self, text: str, special: bool) -> tuple[list[int], list[int]]:
        """Ids of `text`, and for each the character at which it starts."""
        ids, starts = [], []
        for encoding, begin in self._encodings(text, special):
            ids += encoding.ids
            starts += [begin + start for start, _ in encoding.offsets]
        return ids, starts

    def continuation(self, text: str) -> list[int]:
        """Ids of `text` without a space that the tokenizer would put before it."""
        return list(self._encode(text, False, self._inside).ids)

    def token(self, id: int) -> str | None:
        """The token of an id as the files write it."""
        return self.library.id_to_token(id)

    def _encodings(self, text: str, special: bool) -> Iterator[tuple[Any, int]]:
        """Encodings of the parts of a text, and the character at which each begins."""
        begin = 0
        for part in split_long_whitespace(text):
            yield self._encode(part, special, self._inside if begin else self.library), begin
            begin += len(part)

    def _encode(self, text: str, special: bool, library: Library) -> Any:
        try:
            with self._lock:
                library.encode_special_tokens = not special
                return library.encode(text, add_special_tokens=False)
        except BaseException as error:  # a panic of the library is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                _("{source} cannot encode this text ({reason}); choose another model"),
                source=self._source,
                reason=reason,
            ) from error

    def _without_prefix(self) -> Library:
        """The same without the space before a text, sharing the vocabulary; the same object where there is none."""
        steps = {"normalizer": state(self.library.normalizer), "pre_tokenizer": state(self.library.pre_tokenizer)}
        bare = {key: _bare(step) for key, step in steps.items()}
        if bare == steps:
            return self.library
        parts = Library.from_str(json.dumps(_EMPTY | bare))
        inside = Library(self.library.model)
        for key in steps:
            if (part := getattr(parts, key)) is not None:
                setattr(inside, key, part)
        return inside


def state(part: Any) -> Any:
    """A normalizer, pre-tokenizer, post-processor or decoder as tokenizer.json writes it; None for None."""
    return None if part is None else json.loads(part.__getstate__())


def flatten(step: Any) -> list[dict[str, Any]]:
    """The steps of a step; one of type Sequence has them in a list."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        inner = next((value for value in step.values() if isinstance(value, list)), [])
        return [each for one in inner for each in flatten(one)]
    return [step]


def _bare(step: Any) -> Any:
    """A normalizer or pre-tokenizer that puts no space before a text."""
    if isinstance(step, list):
        return [bare for each in step if (bare := _bare(each)) is not None]
    if not isinstance(step, dict):
        return step
    if step.get("type") == "Prepend":
        return None
    changed = {key: _bare(value) for key, value in step.items()}
    if step.get("type") == "Metaspace":
        changed |= {"prepend_scheme": "never"}
    if step.get("type") == "ByteLevel":
        changed |= {"add_prefix_space": False}
    return changed


def around(post_processor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a post-processor puts before and after a text."""
    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    for step in flatten(state(post_processor)):
        if step["type"] == "TemplateProcessing":
            ids = {name: tuple(token["ids"]) for name, token in step["special_tokens"].items()}
            single: Sequence[dict[str, Any]] = step["single"]
            at = next((n for n, part in enumerate(single) if "Sequence" in part), len(single))
            begin = tuple(id for part in single[:at] for id in ids[part["SpecialToken"]["id"]]) + begin
            after = [part["SpecialToken"]["id"] for part in single[at + 1 :] if "SpecialToken" in part]
            end += tuple(id for name in after for id in ids[name])
        elif step["type"] in ("BertProcessing", "RobertaProcessing"):
            begin, end = (step["cls"][1], *begin), (*end, step["sep"][1])
    return begin, end


def parse_merge(merge: str) -> tuple[str, str]:
    """The two tokens of a merge; the first may begin with a space. Raises `ValueError` where there are not two."""
    at = merge.find(" ", 1)
    if at < 0:
        raise ValueError(f"{reprlib.repr(merge)} is no merge of two tokens")
    return merge[:at], merge[at + 1 :]
