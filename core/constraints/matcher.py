"""The mask after the ids of a text: which tokens can follow so that the whole can still match."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from llguidance import LLMatcher

from core.constraints.source import NAMES, Kind, grammar_of
from core.constraints.vocabulary import Tokens, ends, vocabulary
from core.errors import UserError
from core.language import _
from core.sequences import common_prefix

KEPT = 64
"""Masks that are kept, of V bytes each."""


class Matcher:
    """What one constraint allows after any ids. A mask depends on the ids alone, so the walk may go anywhere.

    Going on or back by a few tokens costs these tokens; the last masks are kept.
    """

    def __init__(self, kind: Kind, text: str, tokens: Tokens) -> None:
        self._kind = kind
        self._tokens = tokens
        self._ends = ends(tokens)
        self._matcher = LLMatcher(vocabulary(tokens), grammar_of(kind, text), log_level=0)
        if self._matcher.is_error():
            raise UserError(
                _("the {constraint} is too complex for these tokens; write a simpler one"), constraint=_(NAMES[kind])
            )
        self._ids: list[int] = []
        """What the matcher has read."""
        self._masks: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def allowed(self, ids: Sequence[int]) -> Any:
        """Which ids may follow `ids`, [V] bool; read only. After a token that ended the text everything may.

        Raises `UserError` if `ids` do not match, or no token can follow.
        """
        key = tuple(ids)
        if key not in self._masks:
            self._masks[key] = self._mask(key)
            if len(self._masks) > KEPT:
                self._masks.popitem(last=False)
        self._masks.move_to_end(key)
        return self._masks[key]

    def _mask(self, ids: tuple[int, ...]) -> Any:
        size = self._tokens.vocab_size
        if self._read(ids):
            return np.ones(size, dtype=bool)
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, count=size, bitorder="little").view(bool)
        if not self._matcher.is_accepting():
            mask[list(self._ends)] = False
        mask.flags.writeable = False
        if not mask.any():
            raise UserError(
                _(
                    "no token can follow such that the text still matches the {constraint}; go back, or change the "
                    "constraint"
                ),
                constraint=_(NAMES[self._kind]),
            )
        return mask

    def _read(self, ids: Sequence[int]) -> bool:
        """Let the matcher stand after `ids`, or after those before the text ended; whether it ended within them."""
        same = common_prefix(self._ids, ids)
        if same < len(self._ids) and not self._matcher.rollback(len(self._ids) - same):
            same = 0
            self._matcher.reset()
        del self._ids[same:]
        for at in range(same, len(ids)):
            ends = ids[at] in self._ends
            if ends and self._matcher.is_accepting():
                return True
            if ends or not self._matcher.try_consume_tokens([ids[at]]):
                raise self._broken(at, ids[at])
            self._ids.append(ids[at])
        return False

    def _broken(self, at: int, id: int) -> UserError:
        piece = self._tokens.piece(id).decode("utf-8", "backslashreplace")
        return UserError(
            _(
                "token {at} of the text, {piece!r}, does not match the {constraint}; go back before it, or change the "
                "constraint"
            ),
            constraint=_(NAMES[self._kind]),
            at=at + 1,
            piece=piece,
        )


@lru_cache(maxsize=8)
def _kept(kind: Kind, text: str, tokens: Hashable) -> Matcher:
    return Matcher(kind, text, cast(Tokens, tokens))


def matcher(kind: Kind, text: str, tokens: Tokens) -> Matcher:
    """A matcher, which is kept. Raises `UserError` for what does not compile."""
    return _kept(kind, text, cast(Hashable, tokens))
