"""The one thread that uses torch and models: it takes jobs from a queue and publishes frames.

When the queue is empty, the thread advances in this order: the operation that goes on, the answer to the lens's
question, the scores of tokens without one, the training. Each advances by one step, so that a new job waits for one
step at most.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.engine import threads
from core.errors import UserError, out_of_memory
from core.generation.token import Token
from core.language import N_, _
from core.loading.choice import ModelChoice
from core.progress import Cancelled, Interrupted, Loading, Progress, Report
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm, SamplingProgress
from tui.garbage import short_searches
from tui.runner.frames import Frame, Operation, Problem, Question, Refusal
from tui.runner.jobs import Job, JobQueue
from tui.runner.outbox import Outbox
from tui.runner.training import TrainingJob, describe
from tui.runner.waits import Waits
from tui.runner.walks import Walks

if TYPE_CHECKING:
    from core.loading.checkpoints.recipe import Recipe


LOADING_TIMEOUT = 0.1
"""Seconds that the end of the app waits for a loading to end; the walk before it is saved already."""
SHOWN_AFTER = 0.15
"""Seconds after which the walk is shown without the distribution that an engine elsewhere is asked for."""
UNCHANGED = N_("{problem}; the walk is unchanged; a smaller model or shorter prompt may fit")
"""What is added where memory is missing."""


class Runner(Walks):
    """Runs jobs one after the other on a thread of its own.

    `publish` is called on that thread when a frame can be taken; it must return at once. `fps` limits how often.
    """

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        super().__init__(Outbox(publish, fps))
        self.screen_answers: Callable[[], bool] = lambda: False
        """Whether the screen has a key to answer, for which it needs the interpreter; set before `start`."""
        self._jobs = JobQueue()
        self._closing = False
        self._loads = self._cancelled = self._replaced = 0
        """How many loads were asked for, and up to which of them they are cancelled, or replaced by a newer one."""
        self._began_at = 0.0
        self._waits = Waits(self._jobs)
        self._resting = False
        self._watch: Question | None = None
        self._watching: Iterator[object] | None = None
        self._running: Iterator[object] | None = None
        self._answering: Iterator[object] | None = None
        self._scoring: Iterator[object] | None = None
        self._training = TrainingJob(lambda status: self._outbox.change(training=status))
        self._thread = threading.Thread(target=self._run, name="torch", daemon=True)

    # For the screen's thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; torch is imported with the first model."""
        self._thread.start()

    def load(self, choice: ModelChoice, text: str, sampler: Sampler, form: PromptForm = PromptForm()) -> None:
        """Load a model. The walk goes on in it where the tokenizer stays the same, else from the prompt `text`.

        It takes the place of one that is loading.
        """
        self._replaced = self._loads
        self._put_load(lambda report: self._load(choice, text, sampler, form, report))

    def open(self, path: Path) -> None:
        """Continue a saved session in its own model; without that model it is shown and computes nothing."""
        self._put_load(lambda report: self._open(path, report))

    def begin(self, number: int, choice: ModelChoice, text: str, sampler: Sampler, form: PromptForm) -> None:
        """Begin a walk, with a `number` from 1, beside a person's own, which is put aside until `come_back`.

        A walk that was begun before is dropped. Walks that are begun are not saved.
        """
        self._put_load(lambda report: self._begin_walk(number, choice, text, sampler, form, report))

    def come_back(self, choice: ModelChoice, sampler: Sampler) -> None:
        """Go on with a person's own walk, where there is none with a new one; the one that was begun is put aside."""
        self._put_load(lambda report: self._come_back(choice, sampler, report))

    def go_on(self, number: int) -> None:
        """Go on with the walk that was begun last, and put a person's own aside."""
        self._put(lambda: self._exchange(number), interrupts=True)

    def watch(self, question: Question | None) -> None:
        """Answer a question beside that of the lens whenever the walk rests; None answers none."""
        self._jobs.put(Job(lambda: self._begin_watch(question), interrupts=False, slot="watch", aside=True))

    @property
    def at_rest(self) -> bool:
        """Whether every job is done, and the last frame was taken."""
        return self._resting and not self._jobs and self._outbox.taken

    def cancel_loading(self) -> None:
        """End the loading that goes on and those that wait; the walk stays as it is."""
        self._cancelled = self._loads

    def scale_adapter(self, scale: float) -> None:
        """Multiply what the LoRA adapter adds by `scale`; of several that wait, only the newest is done."""
        self._put(lambda: self._scale_adapter(scale), True, "adapter")

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        """Queue an operation; one that `interrupts` ends a generation first.

        It replaces the waiting operations that were queued `instead_of` the same name.
        """
        self._put(lambda: operation(self._session) if self._session else None, interrupts, instead_of)

    def ask(self, question: Question | None) -> None:
        """Put the question that the frames answer from now on; None asks nothing."""
        self._put(lambda: self._outbox.change(question=question, answer=None, progress=None), False, "question")

    def train(self, recipe: "Recipe", folder: Path) -> None:
        """Train a rung in `folder` in the idle time; continues from the newest checkpoint that is there."""
        self._put(lambda: self._train(recipe, folder), interrupts=False)

    def resume_training(self) -> None:
        """Continue the training after a pause or a problem."""
        self._put(self._training.resume, False, "training")

    def pause_training(self) -> None:
        """Let the training wait; its state is saved."""
        self._put(self._training.pause, False, "training")

    def stop_training(self) -> None:
        """End the training; its checkpoints stay in their folder."""
        self._put(self._training.stop, False, "training")

    def pause(self) -> None:
        """End a generation before its next token."""
        self._jobs.put(Job(self._stop_waiting, interrupts=True, stops=True))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to save yet: no walk and no training, while the thread runs."""
        return self._thread.is_alive() and self._session is None and self._aside is None and not self._training.running

    def take(self) -> tuple[Frame, list[Problem]]:
        """The newest frame, and the problems since the last one, one line each."""
        return self._outbox.take()

    def close(self, timeout: float = 0.05) -> bool:
        """Stop after the present step; whether the thread has ended within `timeout` seconds."""
        self._closing = True
        self._jobs.wake()
        if self._thread.ident is not None:
            self._thread.join(min(timeout, LOADING_TIMEOUT) if self._outbox.frame.activity == "loading" else timeout)
        return not self._thread.is_alive()

    def _put_load(self, load: Callable[[Report], object]) -> None:
        self._loads += 1
        number = self._loads

        def report(loading: Loading) -> None:
            """Called often, also by threads that download while this one waits for them."""
            if self._replaced >= number:
                raise Interrupted
            if self._closing or self._cancelled >= number:
                raise Cancelled
            self._outbox.change(loading=loading)
            self._show_if_due(walk=False)

        self._put(lambda: load(report), interrupts=True)

    def _put(self, run: Callable[[], object], interrupts: bool, slot: str | None = None) -> None:
        self._jobs.put(Job(run, interrupts, slot))

    # On the runner's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with short_searches():
            while not self._closing:
                self._advance_safely()
        with suppress(Exception):  # the app has left the terminal: nobody reads an error
            self._autosave(last=True)
        with suppress(Exception):
            self._training.pause()

    def _advance_safely(self) -> None:
        """Do the next thing, and report what goes wrong."""
        try:
            self._advance()
        except UserError as error:
            self._report(error)
        except Interrupted:  # the job that waits comes next
            self._running = self._answering = self._scoring = self._watching = None
        except Cancelled:
            self._report(_("loading was cancelled; the walk is unchanged"))
        except Exception as error:  # neither a defect nor a lack of memory may end the walk
            self._report(_(UNCHANGED).format(problem=describe(error)) if out_of_memory(error) else describe(error))

    def _advance(self) -> None:
        """Begin the next job, or else do one step of what is unfinished, or else wait for a job."""
        self._waits.enter(None, operation=self._running is not None)
        if self._jobs:
            self._begin(self._jobs.pop())
        elif self._running:
            self._waits.for_screen(self.screen_answers)
            self._advance_operation(self._running)
            self._autosave()
        elif self._watching:
            self._advance_watch(self._watching)
        elif self._answering:
            self._advance_answer(self._answering)
        elif self._scoring:
            self._advance_scores(self._scoring)
        elif self._training.running:
            self._resting = True
            self._advance_training()
            self._resting = False
        else:
            due = self._autosave()
            self._resting = True
            self._jobs.wait(due)
            self._resting = False

    def _while_waiting(self) -> None:
        """Called often while an engine elsewhere is waited for. Raises `Interrupted` where another job comes first."""
        if self._closing:
            raise Interrupted
        self._waits.check()
        if self._waits.begins:
            self._outbox.change(activity="reading")
        if self._outbox.is_due():
            self._show(walk=False)

    def _waits_long(self) -> bool:
        """Whether the walk is shown although an engine elsewhere has not answered yet."""
        requests = self._session.model.requests if self._session and self._session.available else None
        return requests is not None and (requests.waited or 0.0) > SHOWN_AFTER

    def _stop_waiting(self) -> None:
        if self._session and self._session.available and (requests := self._session.model.requests):
            requests.stop()

    def _begin(self, job: Job) -> None:
        if job.aside:
            job.run()
            self._show(walk=False)  # an answer may not have been shown yet
            return
        self._answering = self._scoring = self._watching = None
        generating = self._running is not None and self._outbox.frame.activity == "generating"
        if job.interrupts:
            self._running = None
            self._outbox.change(activity="idle")
        self._waits.enter(job)
        result = job.run()
        if isinstance(result, Iterator):
            self._running = result
            self._began_at = time.perf_counter()
            self._outbox.change(generated=0)
        elif self._running:
            self._show()
        elif self._session and not self._session.ready and (generating or not job.stops):
            self._running = self._session.read()
        else:
            self._rest()

    def _advance_operation(self, running: Iterator[object]) -> None:
        """One step of the operation, shown where a frame is due."""
        try:
            event = next(running)
        except StopIteration:
            self._running = None
            if self._session and not self._session.ready:
                self._running = self._session.read()
            else:
                self._rest()
            return
        if isinstance(event, Token):
            generated = self._outbox.frame.generated + 1
            rate = generated / (time.perf_counter() - self._began_at)
            self._outbox.change(activity="generating", generated=generated, rate=rate)
        elif isinstance(event, Progress):
            loaded = self._outbox.frame.activity == "loading"
            if self._outbox.frame.activity != "generating":
                self._outbox.change(activity="reading", activity_progress=event, loading=None)
            if loaded:  # a mapped file is read from the disk by the first forward pass, which may take long
                self._show(walk=False)
        elif isinstance(event, SamplingProgress):
            self._outbox.change(activity="reading", activity_progress=Progress(event.done, event.total))
        seen = self._outbox.frame.snapshot
        if event == Progress(1, 1) and self._session and self._session.ready and seen and not seen.chart:
            self._show()  # a run was shown before an engine elsewhere had told this distribution
        self._show_if_due(walk=not isinstance(event, Progress) or self._waits_long())

    def _advance_scores(self, scoring: Iterator[object]) -> None:
        try:
            next(scoring)
        except StopIteration:
            self._scoring = None
            self._show()
        else:
            self._show_if_due()

    def _rest(self) -> None:
        """Show the walk; then begin the answer to the lens and the scores that are missing."""
        self._outbox.change(activity="idle", activity_progress=None, progress=None, loading=None)
        self._show()
        question = self._outbox.frame.question
        if self._session and self._session.tokens and self._session.ready and question and not question.live:
            self._answering = self._answers(question)
        if self._session and self._session.unscored():
            self._scoring = self._session.score()
        self._begin_watch(self._watch)

    def _begin_watch(self, question: Question | None) -> None:
        self._watch, self._watching = question, None
        if question and self._running is None and self._session and self._session.tokens and self._session.ready:
            self._watching = self._answers(question)

    def _advance_watch(self, watching: Iterator[object]) -> None:
        for answer in watching:
            if not isinstance(answer, Progress):
                self._outbox.change(watched=answer)
            self._show_if_due(walk=False)
            return
        self._watching = None
        self._show(walk=False)

    def _answers(self, question: Question) -> Iterator[object]:
        """The answers to a question, better and better; a `Refusal` where core refuses."""
        try:
            answer = question.ask(self._session)  # type: ignore[arg-type]  # callers have checked that there is one
            yield from answer if isinstance(answer, Iterator) else (answer,)
        except UserError as error:
            yield Refusal(error)

    def _advance_answer(self, answering: Iterator[object]) -> None:
        try:
            answer = next(answering)
        except StopIteration:
            self._answering = None
            self._outbox.change(progress=None)
            self._show()
            return
        if isinstance(answer, Progress):
            self._outbox.change(progress=answer)
        else:
            self._outbox.change(answer=answer)
        self._show_if_due()

    def _train(self, recipe: "Recipe", folder: Path) -> None:
        threads.prepare()
        if self._session is None:  # else the count was chosen for its model
            threads.apply(0, beside_screen=True)
        self._training.start(recipe, folder)

    def _advance_training(self) -> None:
        if self._training.step():
            self._show_if_due(walk=False)
        else:
            self._show(walk=False)

    def _report(self, problem: Problem) -> None:
        """Stop what goes on, and show the problem."""
        self._outbox.add_problem(problem)
        self._running = self._answering = self._scoring = self._watching = None
        self._outbox.change(activity="idle", activity_progress=None, progress=None, loading=None)
        try:
            self._show()
        except Exception:  # where the walk itself cannot be shown, the problem must be
            self._show(walk=False)

    # Frames ----------------------------------------------------------------------------------------------------------

    def _show_if_due(self, *, walk: bool = True) -> None:
        if not self._jobs and self._outbox.is_due():
            self._show(walk=walk)

    def _show(self, *, walk: bool = True) -> None:
        """Publish a frame, with a new snapshot of the walk unless `walk` is False."""
        if self._session and self._session.available and (requests := self._session.model.requests):
            self._outbox.change(waiting=requests.waited, latency=requests.seconds)
        if walk and self._session:
            self._outbox.change(snapshot=self._session.snapshot())
            question = self._outbox.frame.question
            if question and question.live and self._session.tokens and self._session.ready:
                self._outbox.change(answer=next(self._answers(question)))
        self._outbox.show()
