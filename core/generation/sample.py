"""One continuation of a prompt while it is generated: its tokens, its text, and why it stopped. Needs no torch."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from core.constraints.vocabulary import ends
from core.generation.stop_conditions import StopConditions
from core.generation.token import Token
from core.language import N_
from core.sampling.sampler import Sampler
from core.sampling.stages.constraint import Constraint
from core.tokenizers.tokenizer import Decoder, Tokenizer

if TYPE_CHECKING:
    from core.sampling.next_distribution import NextDistribution

MODEL_ENDED = N_("the model ended its text")


def stop_ids(tokenizer: Tokenizer, sampler: Sampler) -> frozenset[int]:
    """The ids that end a text: those of the model, and under a constraint the one that ends what matches."""
    return ends(tokenizer) if sampler.uses(Constraint) else tokenizer.stops


class Sample:
    """A growing continuation that checks its stop conditions before and after each token.

    `stop_ids` are the ids with which the model ends its text.
    """

    def __init__(self, conditions: StopConditions, stop_ids: Collection[int]) -> None:
        self.tokens: list[Token] = []
        self.text = ""
        """The decoded tokens, without a last character that is not complete yet."""
        self.stopped = ""
        """Why it stopped; empty while it may continue."""
        self._conditions = conditions
        self._stop_ids = stop_ids
        self._decoder = Decoder()

    def stops_before(self, distribution: "Callable[[], NextDistribution]") -> bool:
        """Whether a condition on the next-token distribution stops it.

        These conditions do not apply before the first token, so that a new generation can go on where one has stopped.
        `distribution` is called only if there are such conditions.
        """
        if self.tokens and self._conditions.thresholds:
            following = distribution()
            self.stopped = self._conditions.before(
                following.entropy_bits, following.margin(), min(following.vocab_size, 2 * following.known)
            )
        return bool(self.stopped)

    def append(self, token: Token) -> str:
        """Add a token, check whether it stops the continuation, and return the text that it completes."""
        completed = self._decoder.feed(token.piece)
        self.tokens.append(token)
        self.text += completed
        self.stopped = MODEL_ENDED if token.id in self._stop_ids else self._conditions.after(token, self.text)
        return completed

    def finish(self) -> str:
        """The bytes of a last character that stayed incomplete, escaped."""
        return self._decoder.finish()
