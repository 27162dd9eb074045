"""Distributions beside that of the walk: after a negative prompt, or in a smaller model. They follow one sequence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.errors import UserError
from core.language import _
from core.loading import catalog
from core.loading.model import Model, Sequences
from core.loading.models import load_model
from core.sampling.context import GuideKind
from core.sampling.distribution import Distribution
from core.sequences import common_prefix
from core.tokenizers.tokenizer import same_tokens


class Guides:
    """Reads the same generated ids after another prompt, or all ids in another model.

    Each guide keeps its cache, so that a step reads one token. Nothing is downloaded.
    """

    def __init__(self, model: Model, models: dict[str, Model] | None = None) -> None:
        self._model = model
        self._models: dict[str, Model] = {} if models is None else models
        """Smaller models by name, which several sequences share."""
        self._readers: dict[tuple[GuideKind, str], tuple[Sequences, list[int]]] = {}

    def fresh(self) -> "Guides":
        """Guides for another sequence, with the models that are loaded already."""
        return Guides(self._model, self._models)

    def logits(self, kind: GuideKind, name: str, ids: Sequence[int], prompt_length: int) -> Any:
        """Logits [V], float32 NumPy, of the token after `ids`, of which the first are the prompt.

        Raises `UserError` for a model that cannot be loaded, or has other tokens.
        """
        wanted = list(ids) if kind == "model" else [*self._prompt(name, ids, prompt_length), *ids[prompt_length:]]
        if (kind, name) not in self._readers:
            model = self._smaller(name) if kind == "model" else self._model
            self._readers[kind, name] = model.sequences(), []
        prefix, known = self._readers[kind, name]
        same = common_prefix(known, wanted)
        if same < len(known):
            prefix.rewind(same)
        if same < len(wanted):
            prefix.append([wanted[same:]])
        known[same:] = wanted[same:]
        distribution = prefix.distributions([len(wanted) - 1])[0][0]
        if not isinstance(distribution, Distribution):
            raise UserError(
                _(
                    "a guided draw needs the probabilities of all {vocab_size:,} tokens, but the engine gives "
                    "{known:,}; leave the guide out, or start the engine so that it gives all"
                ),
                vocab_size=distribution.vocab_size,
                known=distribution.known,
            )
        return distribution.scores

    def _prompt(self, text: str, ids: Sequence[int], prompt_length: int) -> list[int]:
        """The negative prompt; the last token of the prompt for an empty text, as in transformers."""
        return self._model.tokenizer.encode(text) if text else list(ids[max(0, prompt_length - 1) : prompt_length])

    def _smaller(self, name: str) -> Model:
        if name not in self._models:
            catalog.check_here(name)
            choice = replace(catalog.applicable(self._model.choice, name), dtype="auto")
            self._models[name] = load_model(choice)
        other = self._models[name]
        if not self._fits(other):
            raise UserError(
                _(
                    "{name} has the tokens of {its_tokenizer}, not those of {tokenizer}; choose a smaller model with "
                    "the same tokenizer"
                ),
                name=name,
                its_tokenizer=other.tokenizer.name,
                tokenizer=self._model.tokenizer.name,
            )
        return other

    def _fits(self, other: Model) -> bool:
        """Whether each id is the same token in both models; an engine elsewhere is not asked for all of its tokens."""
        ours, theirs = self._model.tokenizer, other.tokenizer
        if self._model.requests is not None or self._model.info.vocab_size != other.info.vocab_size:
            return ours is theirs
        return same_tokens(ours, theirs)
