"""A model that an engine elsewhere serves: its description, its tokenizer, and its requests."""

from dataclasses import dataclass
from typing import NoReturn

from core.errors import Action, UserError
from core.language import _
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.served.requests import Requests
from core.loading.served.sequences import ServedSequences
from core.tokenizers.tokenizer import Tokenizer


class NeedsWeights(UserError):
    """Something looks inside a model whose weights are not on this machine."""

    def __init__(self, address: str, what: str = "") -> None:
        super().__init__(
            _(
                "{what} needs the weights on this machine, but this model runs at {address}; {model} chooses one that "
                "runs here"
            ),
            what=what or _("this"),
            address=address,
            model=Action("choose.model"),
        )
        self.address = address


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model whose weights are on another machine."""

    choice: ModelChoice
    info: ModelInfo
    tokenizer: Tokenizer
    requests: Requests

    @property
    def transformer(self) -> NoReturn:
        """Raises `NeedsWeights`."""
        raise NeedsWeights(self.info.name)

    @property
    def adapter(self) -> None:
        """None: what an engine adds to its weights is its own."""

    def with_adapter_at(self, scale: float) -> NoReturn:
        """Raises `NeedsWeights`."""
        raise NeedsWeights(self.info.name, _("an adapter"))

    @property
    def stops(self) -> frozenset[int]:
        """Ids that end a text."""
        return self.tokenizer.stops

    def sequences(self, *, whole: bool = False) -> ServedSequences:
        """One sequence without ids; where `whole`, with as much of each distribution as the engine tells."""
        return ServedSequences(self.requests, self.info.context, count=self.info.vocab_size if whole else None)
