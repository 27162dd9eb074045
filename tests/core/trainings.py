"""Small trainings over bytes, and their events."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch

from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.progress import Progress
from core.training.events import Event, Stepped
from core.training.text import Text
from core.training.trainer import Trainer, corpus
from core.training.training import Training

CPU = torch.device("cpu")
SMALL = Hyperparameters(embed_dim=16, context=12, blocks=2)
RUNGS = {
    "model1": Hyperparameters(embed_dim=16, context=12),
    "model2": Hyperparameters(embed_dim=16, context=12),
    "model3": Hyperparameters(embed_dim=16, context=12),
    "model4": SMALL,
    "model5": SMALL,
    "model6": SMALL,
}


def corpus_of(recipe: Recipe) -> Text:
    *_, text = corpus(recipe)
    assert isinstance(text, Text)
    return text


def trainer_of(recipe: Recipe) -> Trainer:
    return Trainer(recipe, corpus_of(recipe), CPU)


def only(events: Iterator[Progress | Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def events_of(training: Training, until: int | None = None, kind: type[Any] = Stepped) -> list[Event]:
    """The events of a training, which is closed at the first event of `kind` at or after step `until`."""
    seen: list[Event] = []
    with closing(training.run()) as events:
        for event in events:
            if not isinstance(event, Progress):
                seen.append(event)
                if until is not None and isinstance(event, kind) and event.step >= until:
                    break
    return seen
