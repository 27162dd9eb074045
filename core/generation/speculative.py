"""Speculative decoding: a draft model proposes tokens, the target verifies all of them in one forward pass.

Leviathan, Kalman & Matias 2023, algorithm 1; Chen et al. 2023. A proposal x is accepted with probability
min(1, p(x) / q(x)), else a token is drawn from norm(max(0, p - q)). So the text is distributed as the target alone
would write it, whatever the draft says. p and q are what the stages of the sampler leave in the target and the draft.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.engine.prefix import Prefix
from core.errors import Option, UserError
from core.generation.draw_context import draw_context
from core.generation.guides import Guides
from core.generation.rounds import How, Proposal, Round
from core.generation.sample import stop_ids
from core.generation.token import Token
from core.language import _
from core.loading.model import Model
from core.sampling.apply import apply_stages
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.selection import Selection
from core.sequences import common_prefix
from core.tokenizers.tokenizer import same_tokens

MOST = 32
"""Proposals of a round at most."""


def kept(token: Token) -> Token:
    """A token of a round as a walk keeps it: it has no single u that draws it again, so it counts as chosen."""
    return replace(token, origin="chosen", sampler=None, sampled_probability=None)


def check_draft(target: Model, draft: Model) -> None:
    """Raise `UserError` unless each id is the same bytes in both models."""
    if not (same_tokens(target.tokenizer, draft.tokenizer) and target.info.vocab_size == draft.info.vocab_size):
        raise UserError(
            _(
                "{draft} {name} has other tokens ({its_tokenizer}, V = {its_size:,}) than {target} ({tokenizer}, V = "
                "{vocab_size:,}); choose a draft model with the same tokenizer"
            ),
            draft=Option("draft"),
            name=draft.info.name,
            its_tokenizer=draft.tokenizer.name,
            its_size=draft.info.vocab_size,
            target=target.info.name,
            tokenizer=target.tokenizer.name,
            vocab_size=target.info.vocab_size,
        )


class Speculation:
    """The text after `tokens`, a round at a time, with up to `count` proposals each.

    A step of the target alone is timed after the rounds 2, 3, 5, 9, 17 …; it changes nothing in the text. Raises
    `UserError` for a draft with other tokens, or a count out of range.
    """

    def __init__(
        self, target: Model, draft: Model, tokens: Sequence[Token], prompt_length: int, sampler: Sampler, count: int = 4
    ) -> None:
        if not 1 <= count <= MOST:
            raise UserError(
                _("{draft_tokens} must be between 1 and {limit}, not {count}"),
                draft_tokens=Option("draft-tokens"),
                limit=MOST,
                count=count,
            )
        check_draft(target, draft)
        self.sampler = sampler
        self.count = count
        self.tokens = list(tokens)
        self.ended = False
        """Whether the model ended its text."""
        self._rounds = 0
        self._prompt_length = prompt_length
        self._stop_ids = stop_ids(target.tokenizer, sampler)
        self._target, self._draft = _Side(target, tokens), _Side(draft, tokens)

    def round(self, most: int) -> Round:
        """Propose, verify, and append up to `most` tokens, at least one."""
        began = time.perf_counter()
        found = self._round(most)
        seconds = time.perf_counter() - began if self._rounds else None
        is_power_of_2 = self._rounds > 0 and self._rounds & (self._rounds - 1) == 0
        step = self._step_seconds() if is_power_of_2 and not self.ended else None
        self._rounds += 1
        return replace(found, seconds=seconds, step_seconds=step)

    def _step_seconds(self) -> float:
        """Seconds in which the target reads the last token and draws the next one, which is not kept."""
        ids = self._ids()
        self._target.distributions(ids[:-1], 1)
        began = time.perf_counter()
        (row,) = self._target.distributions(ids, 1)
        self._after_stages(self._target, row, self.tokens).token_at(self._uniform("bonus"))
        seconds = time.perf_counter() - began
        self._target.rewind(len(ids) - 1)
        return seconds

    def _round(self, most: int) -> Round:
        start = len(self.tokens)
        proposed, beliefs = self._propose(min(self.count, most - 1))
        ids = [token.id for token in proposed]
        rows = self._target.distributions([*self._ids(), *ids], len(ids) + 1)
        proposals, how = list[Proposal](), list[How]()
        for token, q, row in zip(proposed, beliefs, rows, strict=False):
            p = self._after_stages(self._target, row, self.tokens)
            own, drafts = p.probability(token.id), q.probability(token.id)
            accepted = self._uniform("accept") * drafts < own
            proposals.append(Proposal(token.id, token.piece, own, drafts, accepted))
            if not accepted:
                self._append(_residual(p, q, len(row.scores), self._uniform("residual")), p, row)
                how.append("resampled")
                break
            self._append(token.id, p, row)
            how.append("accepted")
            if self.ended:
                break
        else:
            p = self._after_stages(self._target, rows[-1], self.tokens)
            self._append(p.token_at(self._uniform("bonus")).at, p, rows[-1])
            how.append("bonus")
        skipped = [
            Proposal(token.id, token.piece, 0.0, q.probability(token.id), None)
            for token, q in zip(proposed[len(proposals) :], beliefs[len(proposals) :], strict=True)
        ]
        return Round(start, (*proposals, *skipped), tuple(self.tokens[start:]), tuple(how))

    def _propose(self, count: int) -> tuple[list[Token], list[Selection]]:
        """Up to `count` tokens of the draft, and what each was drawn from."""
        tokens, beliefs = list(self.tokens), list[Selection]()
        while len(beliefs) < count:
            (row,) = self._draft.distributions([token.id for token in tokens], 1)
            q = self._after_stages(self._draft, row, tokens)
            id = q.token_at(_uniform(self.sampler.seed, len(tokens), "draft")).at
            beliefs.append(q)
            piece = self._draft.model.tokenizer.piece(id)
            tokens.append(Token(id, piece, "sampled", sampled_probability=q.probability(id), sampler=self.sampler))
            if id in self._stop_ids:
                break
        return tokens[len(self.tokens) :], beliefs

    def _after_stages(self, side: "_Side", row: Distribution, tokens: Sequence[Token]) -> Selection:
        context: DrawContext = draw_context(
            tokens, self._prompt_length, self.sampler, 0, side.model.tokenizer, side.guides
        )
        selection = apply_stages(row, self.sampler, context).checked()
        if not isinstance(selection, Selection):
            raise selection.needs_all()
        return selection

    def _append(self, id: int, p: Selection, row: Distribution) -> None:
        piece, info = self._target.model.tokenizer.piece(id), self._target.model.info
        self.tokens.append(
            Token(id, piece, "sampled", row.score(id), None, p.probability(id), sampler=self.sampler, model=info)
        )
        self.ended = id in self._stop_ids

    def _ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    def _uniform(self, purpose: str) -> float:
        return _uniform(self.sampler.seed, len(self.tokens), purpose)


class _Side:
    """One of the two models, and what it has read."""

    def __init__(self, model: Model, tokens: Sequence[Token]) -> None:
        self.model = model
        self.guides = Guides(model)
        self._prefix = Prefix(model.transformer)
        self._known: list[int] = []

    def rewind(self, length: int) -> None:
        """Forget what was read after the first `length` ids."""
        self._prefix.rewind(length)
        del self._known[length:]

    def distributions(self, ids: Sequence[int], count: int) -> list[Distribution]:
        """The next-token distributions after `ids` and after the `count - 1` prefixes before it, in one pass."""
        same = common_prefix(self._known, list(ids))
        self.rewind(same)
        if same < len(ids):
            self._prefix.append([ids[same:]])
        self._known = list(ids)
        return [Distribution(row) for row in self._prefix.logits(range(len(ids) - count, len(ids)))[0]]


def _uniform(seed: int, position: int, purpose: str) -> float:
    """A number in [0, 1). Those of one position differ by purpose, and no decision before the position uses them."""
    return random.Random(f"{seed}:{position}:{purpose}").random()


def _residual(p: Selection, q: Selection, size: int, u: float) -> int:
    """The token that u draws from norm(max(0, p - q)); from p where rounding leaves nothing of it."""
    rest: Any = np.maximum(p.spread(size).astype(np.float64) - q.spread(size), 0.0)
    if not rest.any():
        return p.token_at(u).at
    order = np.argsort(-rest, kind="stable")
    masses = np.cumsum(rest[order])
    return int(order[min(int(np.searchsorted(masses, u * masses[-1], "right")), int(np.count_nonzero(rest)) - 1)])
