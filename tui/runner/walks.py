"""The walks of the runner's thread: loaded in a model, opened from a file, begun beside another, and come back to."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.engine import threads
from core.errors import UserError
from core.language import _
from core.loading.choice import ModelChoice
from core.progress import Loading, Report
from core.sampling.sampler import Sampler
from core.sessions.reader import read_record
from core.walk.values import PromptForm
from tui import garbage
from tui.runner.loading import Shelf, walk_in
from tui.runner.outbox import Outbox

if TYPE_CHECKING:
    from core.walk.session import Session
    from tui.autosave import Autosave


class Walks:
    """Puts another session into the place of the present one. The base of `Runner`, which shows it."""

    autosave: "Autosave | None" = None
    """Writes the walk to a file; set before `start`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._session: Session | None = None
        self._aside: Session | None = None
        """Within a walk that was begun beside it, a person's own walk; outside, the last walk that was begun."""
        self._shelf = Shelf()

    def _autosave(self, *, last: bool = False) -> float | None:
        """Write the walk where that is due; seconds until it will be due, None if it has not changed."""
        if self.autosave is None or self._session is None or self._outbox.frame.begun:
            return None
        return self.autosave.write_if_due(self._session, last=last)

    def _while_waiting(self) -> None:
        """Called often while an engine elsewhere is waited for."""
        raise NotImplementedError

    def _show(self, *, walk: bool = True) -> None:
        """Publish a frame."""
        raise NotImplementedError

    def _show_loading(self, name: str) -> None:
        """Save the walk, as the app may end while the model is loaded, and show what is loaded."""
        self._autosave(last=True)
        self._outbox.change(activity="loading", activity_progress=None, loading=Loading("reading", name, 0, 0))
        self._show(walk=False)

    def _load(
        self, choice: ModelChoice, text: str, sampler: Sampler, form: PromptForm, report: Report
    ) -> Iterator[object]:
        self._show_loading(choice.name)
        self._find_devices()
        before = self._session
        # assigned last, so that an error leaves the model before
        self._session, reading, notes = walk_in(choice, text, sampler, form, self._session, report, self._while_waiting)
        model = self._session.model
        self._outbox.change(
            choice=model.choice, model=model.info, tokenizer=model.tokenizer, rate=None, waiting=None, latency=None
        )
        if before:
            garbage.search_all_again()
        for note in notes:
            self._outbox.add_problem(note)
        return reading

    def _find_devices(self) -> None:
        threads.prepare()
        from core.engine.device import devices  # noqa: PLC0415

        if self._session is None:
            garbage.leave_out_imports()
        self._outbox.change(devices=tuple(devices()))

    def _begin_walk(
        self, number: int, choice: ModelChoice, text: str, sampler: Sampler, form: PromptForm, report: Report
    ) -> Iterator[object]:
        dropped = self._session if self._outbox.frame.begun else self._aside
        if dropped and dropped.available:
            dropped.patch(())  # its model is used again
        own = self._aside if self._outbox.frame.begun else self._session
        self._show_loading(choice.name)
        self._find_devices()
        session, reading, notes = walk_in(choice, text, sampler, form, None, report, self._while_waiting, self._shelf)
        self._session, self._aside = session, own
        self._show_other(number)
        for note in notes:
            self._outbox.add_problem(note)
        return reading

    def _exchange(self, number: int) -> Iterator[object]:
        self._autosave(last=True)
        if self._aside is None:
            raise UserError(_("the walk of the course is gone; open its step again"))
        self._session, self._aside = self._aside, self._session
        self._show_other(number)
        return self._session.read()

    def _come_back(self, choice: ModelChoice, sampler: Sampler, report: Report) -> Iterator[object]:
        if self._aside is not None:
            return self._exchange(0)
        self._show_loading(choice.name)
        session, reading, _notes = walk_in(choice, "", sampler, PromptForm(), None, report, self._while_waiting)
        self._session, self._aside = session, self._session
        self._show_other(0)
        return reading

    def _show_other(self, number: int) -> None:
        """Let the next frame show the session that stands now in the place of another."""
        session = self._session
        assert session is not None
        garbage.search_all_again()
        choice = session.model.choice if session.available else self._outbox.frame.choice
        if session.available:
            threads.apply(session.info.parameters, beside_screen=True)
        self._outbox.change(
            choice=choice,
            model=session.info,
            tokenizer=session.model.tokenizer if session.available else None,
            snapshot=None,
            watched=None,
            rate=None,
            waiting=None,
            latency=None,
            opened=self._outbox.frame.opened + 1,
            begun=number,
        )

    def _scale_adapter(self, scale: float) -> object:
        if self._session is None:
            return None
        reading = self._session.scale_adapter(scale)
        self._outbox.change(choice=self._session.model.choice, model=self._session.info)
        return reading

    def _open(self, path: Path, report: Report) -> Iterator[object]:
        if self.autosave and self.autosave.path == path:
            raise UserError(_("this session is open already"))
        saved = read_record(path, self._outbox.add_problem)
        self._show_loading(saved.model.name)
        self._find_devices()
        from core.sessions import resume  # noqa: PLC0415

        report(Loading("reading", saved.model.name, 0, 0))
        before = self._session.model if self._session and self._session.available else None
        try:
            model = before if before and before.info == saved.model else resume.model(saved.model, report=report)
            threads.apply(model.info.parameters, beside_screen=True)
            if self._session and model is before:
                self._session.patch(())  # the saved session patches the same weights in its own way
            session = resume.session(saved, model)
            self._outbox.change(choice=model.choice, model=model.info, tokenizer=model.tokenizer)
        except UserError as error:
            session = resume.session_without_model(saved, error)
            choice = saved.model.choice or ModelChoice(name=saved.model.name)
            choice = replace(choice, device="auto", dtype="auto")  # the default for another model
            info = replace(saved.model, name=_("{name} (not here)").format(name=saved.model.name))
            self._outbox.change(choice=choice, model=info, tokenizer=None)
            if session.unavailable:
                self._outbox.add_problem(session.unavailable)
        if self._session:
            garbage.search_all_again()
        self._session = session
        if session.available and (requests := session.model.requests):
            requests.pause = self._while_waiting
        if self.autosave:
            self.autosave.attach(session, path)
        self._outbox.change(snapshot=None, rate=None, waiting=None, latency=None, opened=self._outbox.frame.opened + 1)
        return session.read()
