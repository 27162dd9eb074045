"""Owns the one thread that touches torch and models. Operations go in, frames come out.

An operation is a function of the session; where it may take long it returns an iterator, and whatever is asked in the
meantime happens between two of its steps. Frames replace each other: the newest one is the whole state of the walk.
"""

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.engine import threads
from core.engine.info import DeviceInfo
from core.errors import UserError, out_of_memory
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.progress import Progress
from core.sampling.sampler import Sampler
from core.sessions.record import read_record
from core.walk.values import SamplingProgress, Snapshot

if TYPE_CHECKING:
    from core.loading.checkpoints.recipe import Recipe
    from core.tokenizers.tokenizer import Tokenizer
    from core.training.status import TrainingStatus
    from core.training.training import Training
    from core.walk.session import Session
    from tui.keeper import Keeper

Activity = Literal["idle", "loading", "reading", "generating"]
Operation = Callable[["Session"], object]
Job = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Question:
    """What a lens wants to know of the walk, again whenever that changes."""

    ask: Callable[["Session"], object]
    """Gives the answer, or an iterator of ever better ones with `Progress` values between them."""
    live: bool = False
    """Whether it is answered with every frame, while tokens stream too; then it must be quick and no iterator."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a question has no answer here."""

    words: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything a panel may draw."""

    activity: Activity = "idle"
    choice: ModelChoice | None = None
    model: ModelInfo | None = None
    words: "Tokenizer | None" = None
    """The tokenizer of the model."""
    devices: tuple[DeviceInfo, ...] = ()
    snapshot: Snapshot | None = None
    reading: Progress | None = None
    """How far a prompt was read, while it is; or, while loading, how many MB of a model were fetched."""
    generated: int = 0
    """Tokens sampled in the present or last run."""
    rate: float | None = None
    """Tokens a second of that run."""
    question: Question | None = None
    """What the lens on the screen wants to know."""
    answer: object = None
    """What core says to that, perhaps not yet whole; a `Refusal` where it makes no sense here; None until there is."""
    progress: Progress | None = None
    """How far the answer is, where it takes long."""
    training: "TrainingStatus | None" = None
    """How the rung that learns here is getting on."""
    opened: int = 0
    """How many saved walks were opened; a higher number brings another prompt and sampler."""


class Runner:
    """Does one thing after the other, on its own thread.

    `publish` is called there when a frame is ready and the one before was taken; it must be quick.
    """

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        self._publish = publish
        self._interval = 1 / fps
        self._queue: deque[tuple[Job, bool, str | None]] = deque()
        self._queue_lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._problems: deque[str] = deque()
        self._frame = Frame()
        self._taken = True
        self._handover = threading.Lock()
        self._shown_at = 0.0
        self._began_at = 0.0
        self._session: Session | None = None
        self._running: Iterator[object] | None = None
        self._answering: Iterator[object] | None = None
        self._scoring: Iterator[object] | None = None
        self._training: Training | None = None
        self._learning: Generator[Any, None, None] | None = None
        self.keeper: Keeper | None = None
        """Who writes the walk to a file; set before `start`."""
        self._thread = threading.Thread(target=self._live, name="torch", daemon=True)

    # For the screen's thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; torch is imported with the first model."""
        self._thread.start()

    def load(
        self, choice: ModelChoice, text: str, sampler: Sampler, *, special: bool = False, chat: bool = False
    ) -> None:
        """Load a model. The walk goes on in it where the tokenizer stays the same, else from the prompt `text`."""
        self._submit(lambda: self._load(choice, text, sampler, special, chat), interrupts=True)

    def open(self, path: Path) -> None:
        """Go on with a saved walk, in its own model where that is here; else it is only shown."""
        self._submit(lambda: self._open(path), interrupts=True)

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        """Queue an operation; one that `interrupts` ends a generation or reading first.

        It takes the place of those still waiting that were queued `instead_of` the same name.
        """
        self._submit(lambda: operation(self._session) if self._session else None, interrupts, instead_of)

    def ask(self, question: Question | None) -> None:
        """Put the question whose answer comes with the frames from now on; None asks nothing."""
        self._submit(
            lambda: self._set(question=question, answer=None, progress=None), interrupts=False, instead_of="question"
        )

    def train(self, recipe: "Recipe", folder: Path) -> None:
        """Let a rung learn in `folder` whenever nothing else is to be done; what is there already is gone on with."""
        self._submit(lambda: self._train(recipe, folder), interrupts=False)

    def go_on_learning(self, wanted: bool) -> None:
        """Let the rung that learns go on, or wait."""
        self._submit(lambda: self._let_learn(wanted), interrupts=False, instead_of="learning")

    def stop_learning(self) -> None:
        """Let the rung that learns take no more steps; what it learned stays in its folder."""
        self._submit(self._stop_learning, interrupts=False, instead_of="learning")

    def pause(self) -> None:
        """End a generation before its next token."""
        self._submit(lambda: None, interrupts=True)

    def take(self) -> tuple[Frame, list[str]]:
        """The newest frame, and the problems since the last one, each a line to tell."""
        with self._handover:
            self._taken = True
        problems = []
        while self._problems:
            problems.append(self._problems.popleft())
        return self._frame, problems

    def close(self, timeout: float = 0.05) -> bool:
        """Stop after the present step; whether the thread has ended."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _submit(self, job: Job, interrupts: bool, instead_of: str | None = None) -> None:
        with self._queue_lock:
            if instead_of is not None:
                kept = [waiting for waiting in self._queue if waiting[2] != instead_of]
                self._queue.clear()
                self._queue.extend(kept)
            self._queue.append((job, interrupts, instead_of))
        self._wake.set()

    # On the torch thread ---------------------------------------------------------------------------------------------

    def _live(self) -> None:
        while not self._closing:
            try:
                if self._queue:
                    self._begin()
                elif self._running:
                    self._advance(self._running)
                    self._keep()
                elif self._answering:
                    self._answer(self._answering)
                elif self._scoring:
                    self._score(self._scoring)
                elif self._learning:
                    self._learn(self._learning)
                else:
                    self._wake.wait(self._keep())
                    self._wake.clear()
            except UserError as mistake:
                self._tell(str(mistake))
            except Exception as error:  # a defect or the machine's limits must not take the walk down
                if words := out_of_memory(error):
                    self._tell(f"{words}; the walk stands where it stood; a smaller model or shorter prompt may fit")
                else:
                    self._tell(_defect(error))
        with suppress(Exception):  # the terminal is given back already
            self._keep(last=True)
        with suppress(Exception):
            self._let_learn(False)

    def _keep(self, *, last: bool = False) -> float | None:
        """Let the walk be written where it is due; seconds until it will be."""
        return self.keeper.look(self._session, last=last) if self.keeper and self._session else None

    def _begin(self) -> None:
        with self._queue_lock:
            job, interrupts, _ = self._queue.popleft()
        self._answering = self._scoring = None
        if interrupts:
            self._running = None
        result = job()
        if isinstance(result, Iterator):
            self._running = result
            self._began_at = time.perf_counter()
            self._set(generated=0)
        elif self._running:
            self._show()
        else:
            self._rest()

    def _advance(self, running: Iterator[object]) -> None:
        """One step of what runs, shown where a frame is due."""
        try:
            event = next(running)
        except StopIteration:
            self._running = None
            self._rest()
            return
        if isinstance(event, Token):
            generated = self._frame.generated + 1
            rate = generated / (time.perf_counter() - self._began_at)
            self._set(activity="generating", generated=generated, rate=rate)
        elif isinstance(event, Progress):
            self._set(activity="reading", reading=event)
        elif isinstance(event, SamplingProgress):
            self._set(activity="reading", reading=Progress(event.done, event.total))
        if self._due():
            self._show(walk=not isinstance(event, Progress))

    def _score(self, scoring: Iterator[object]) -> None:
        try:
            next(scoring)
        except StopIteration:
            self._scoring = None
            self._show()
            return
        if self._due():
            self._show()

    def _rest(self) -> None:
        """Show where the walk stands; then answer the lens and measure what has no score yet, while nobody asks."""
        self._set(activity="idle", reading=None, progress=None)
        self._show()
        question = self._frame.question
        if self._session and self._session.tokens and question and not question.live:
            self._answering = self._answers(question)
        if self._session and self._session.unscored():
            self._scoring = self._session.score()

    def _answers(self, question: Question) -> Iterator[object]:
        """Answers as they get better; what makes no sense here is an answer too."""
        try:
            answer = question.ask(self._session)  # type: ignore[arg-type]  # there is one
            yield from answer if isinstance(answer, Iterator) else (answer,)
        except UserError as mistake:
            yield Refusal(str(mistake))

    def _answer(self, answering: Iterator[object]) -> None:
        try:
            answer = next(answering)
        except StopIteration:
            self._answering = None
            self._set(progress=None)
            self._show()
            return
        if isinstance(answer, Progress):
            self._set(progress=answer)
        else:
            self._set(answer=answer)
        if self._due():
            self._show()

    # Training, while there is nothing else to do ---------------------------------------------------------------------

    def _train(self, recipe: "Recipe", folder: Path) -> None:
        threads.prepare()
        from core.engine.device import resolve  # noqa: PLC0415
        from core.loading.checkpoints import card as cards  # noqa: PLC0415
        from core.loading.checkpoints import folders  # noqa: PLC0415
        from core.training.events import CheckpointSaved  # noqa: PLC0415
        from core.training.status import TrainingStatus  # noqa: PLC0415
        from core.training.training import Training  # noqa: PLC0415

        if self._session is None:  # else its model has decided on threads
            threads.apply(0, beside_screen=True)
        known = cards.read_card(folder / folders.LATEST) if (folder / folders.LATEST).is_file() else None
        self._leave_learning()
        self._training = Training(recipe, folder, resolve("auto"))
        saved = tuple(CheckpointSaved(step, path) for step, path in folders.steps(folder))
        self._set(training=TrainingStatus(recipe, folder.name, saved=saved, earlier_losses=known.losses if known else ()))
        self._let_learn(True)

    def _let_learn(self, wanted: bool) -> None:
        if self._training and self._frame.training:
            self._set(training=replace(self._frame.training, state="preparing" if wanted else "paused", problem=""))
            self._leave_learning()
            self._learning = self._training.run() if wanted else None

    def _stop_learning(self) -> None:
        if self._training and self._frame.training:
            self._set(training=replace(self._frame.training, state="ended", problem=""))
            self._leave_learning()
            self._training = None

    def _leave_learning(self) -> None:
        """Leave it between two steps, which keeps what was learned."""
        before, self._learning = self._learning, None
        if before:
            before.close()

    def _learn(self, learning: Generator[Any, None, None]) -> None:
        """One step of the rung that learns; whatever goes wrong, it waits and the walk goes on."""
        assert self._frame.training is not None
        try:
            self._set(training=self._frame.training.after(next(learning)))
        except StopIteration:
            self._learning = None
            self._show(walk=False)
        except Exception as error:
            self._learning = None
            problem = error if isinstance(error, UserError) else out_of_memory(error) or _defect(error)
            self._set(training=replace(self._frame.training, state="paused", problem=problem))
            self._show(walk=False)
        else:
            if self._due():
                self._show(walk=False)

    def _tell(self, problem: str) -> None:
        self._problems.append(problem)
        self._running = self._answering = self._scoring = None
        self._set(activity="idle", reading=None, progress=None)
        try:
            self._show()
        except Exception:  # the walk cannot be shown where it stands, but the problem must be
            self._show(walk=False)

    def _load(self, choice: ModelChoice, text: str, sampler: Sampler, special: bool, chat: bool) -> Iterator[object]:
        self._set(activity="loading", reading=None)
        self._show(walk=False)
        threads.prepare()
        from core.engine.device import devices  # noqa: PLC0415
        from core.loading.models import load_model  # noqa: PLC0415
        from core.tokenizers.chat import encode  # noqa: PLC0415
        from core.walk.session import Session  # noqa: PLC0415

        if self._session is None:
            gc.freeze()  # what was imported stays; to look for garbage in it would be felt at the keys (150 ms)
        self._set(devices=tuple(devices()))
        before, model = self._session, load_model(choice, self._fetched)
        threads.apply(model.info.parameters, beside_screen=True)
        if before and before.tokens and before.goes_on_in(model):
            session = before.moved_to(model)
            reading = session.read()
        else:
            self._keep(last=True)
            session = Session(model, sampler)
            reading = session.prefill(encode(model.tokenizer, text, special=special, chat=chat), text)
        self._session = session  # only now: whatever fails leaves the model before
        self._set(choice=choice, model=model.info, words=model.tokenizer, rate=None)
        return reading

    def _open(self, path: Path) -> Iterator[object]:
        if self.keeper and self.keeper.path == path:
            raise UserError("that is the walk you are in")
        saved = read_record(path)
        self._set(activity="loading", reading=None)
        self._show(walk=False)
        threads.prepare()
        from core.engine.device import devices  # noqa: PLC0415
        from core.sessions import resume  # noqa: PLC0415

        self._set(devices=tuple(devices()))
        self._keep(last=True)
        before = self._session.model if self._session else None
        try:
            model = before if before and before.info == saved.model else resume.model(saved.model)
            threads.apply(model.info.parameters, beside_screen=True)
            if self._session and model is before:
                self._session.patch(())  # the same weights, under patches of their own
            session = resume.session(saved, model)
            self._set(choice=model.choice, model=model.info, words=model.tokenizer)
        except UserError as mistake:
            session = resume.SavedWalk(saved, str(mistake))
            choice = replace(session.model.choice, device="auto", dtype="auto")  # where another model may be tried
            self._set(choice=choice, model=replace(saved.model, name=f"{saved.model.name} (not here)"), words=None)
            self._problems.append(session.why)
        self._session = session
        if self.keeper:
            self.keeper.opened(session, path)
        self._set(snapshot=None, rate=None, opened=self._frame.opened + 1)
        return session.read()

    def _fetched(self, done: int, total: int) -> None:
        """Progress of a download, told by the threads that download while this one waits for them."""
        self._set(reading=Progress(done // 1_000_000, total // 1_000_000))
        if self._due():
            self._show(walk=False)

    def _due(self) -> bool:
        return self._taken and not self._queue and time.perf_counter() - self._shown_at >= self._interval

    def _set(self, **changes: Any) -> None:
        self._frame = replace(self._frame, **changes)

    def _show(self, *, walk: bool = True) -> None:
        if walk and self._session:
            self._set(snapshot=self._session.snapshot())
            question = self._frame.question
            if question and question.live and self._session.tokens:
                self._set(answer=next(self._answers(question)))
        with self._handover:
            taken, self._taken = self._taken, False
        self._shown_at = time.perf_counter()
        if taken:
            self._publish()


def _defect(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"
