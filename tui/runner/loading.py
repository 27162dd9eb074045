"""From a choice to a walk in the model that it means. For the runner's thread."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from core.engine import threads
from core.language import _
from core.loading.choice import ModelChoice
from core.progress import Loading, Report
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm

if TYPE_CHECKING:
    from core.loading.model import Model
    from core.walk.session import Session

KEPT = 4
"""Models that a shelf keeps at most."""


class Shelf:
    """Keeps the models of the last walks that were begun, as lessons begin walks again and again."""

    def __init__(self) -> None:
        self._models: dict[ModelChoice, Model] = {}

    def load(self, choice: ModelChoice, report: Report) -> "Model":
        """The model of a choice, which is loaded at the first time."""
        from core.loading.models import load_model  # noqa: PLC0415

        found = self._models.pop(choice, None) or load_model(choice, report)
        self._models[choice] = found
        for oldest in list(self._models)[:-KEPT]:
            del self._models[oldest]
        return found


def walk_in(
    choice: ModelChoice,
    text: str,
    sampler: Sampler,
    form: PromptForm,
    before: "Session | None",
    report: Report,
    pause: Callable[[], None],
    shelf: Shelf | None = None,
) -> tuple["Session", Iterator[object], list[str]]:
    """The walk, the iterator that reads it, and what a person should know of it.

    It is the walk `before` where the tokens stay the same, else a new one from the prompt `text`. `pause` is called
    while an engine elsewhere is waited for. A `shelf` keeps the model. Raises `UserError`, and what `report` and
    `pause` raise.
    """
    threads.prepare()
    from core.loading.models import load_model  # noqa: PLC0415
    from core.walk.session import Session  # noqa: PLC0415

    report(Loading("reading", choice.name, 0, 0))
    model = shelf.load(choice, report) if shelf else load_model(choice, report)
    report(Loading("reading", choice.name, 1, 1))
    threads.apply(model.info.parameters, beside_screen=True)
    notes = list[str]()
    if model.requests:
        model.requests.pause = pause
    if before and before.tokens and before.goes_on_in(model):
        session = before.moved_to(model)
        reading = session.read()
    else:
        session = Session(model, sampler)
        if form.chat and before and model.tokenizer.template is None:
            notes.append(_("{name} has no chat template; the prompt is plain text").format(name=model.info.name))
            form = replace(form, chat=False)
        reading = session.write(text, form)
    if model.info.slow_path:
        notes.append(
            _("{name} runs on a slow path: {slow_path}").format(name=model.info.name, slow_path=model.info.slow_path)
        )
    if model.tokenizer.warning:
        notes.append(model.tokenizer.warning)
    return session, reading, notes
