"""Makes the frames of a viewer: from what is shared, and from the viewer's own model where one was loaded."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from core.errors import Action, UserError
from core.language import N_, _
from core.loading.choice import ModelChoice
from core.sampling.values import Chart
from core.walk.values import Snapshot
from tui import garbage
from tui.following.own_model import OwnModel
from tui.runner import Frame, Operation, Question, Refusal, Runner
from tui.runner.frames import Problem
from tui.sharing.feed import Feed, State
from tui.sharing.view import View
from tui.sharing.wire import Received

READ_ONLY = N_("this walk is read-only: only the teacher changes it")
NEEDS_MODEL = N_("the teacher does not share this lens at this position; {key} loads the model here, which computes it")
CHARTS = 1000
"""Charts that are kept, of positions that the teacher looked at."""


class FollowingRunner(Runner):
    """Stands in the place of the runner of an app that changes its walk: whatever would change it is refused.

    While it follows, its frames are those of the teacher. Else they are of the viewer's own position.
    """

    def __init__(self, feed: Feed, choice: ModelChoice | None, publish: Callable[[], None], fps: float) -> None:
        super().__init__(publish, fps)
        self._feed, self._choice, self._publish, self._fps = feed, choice, publish, fps
        self._received: Received | None = None
        self._charts: dict[int, Chart] = {}
        """By cursor, those that were shared, as long as the tokens before it and the sampler stay."""
        self._lock = threading.Lock()
        self._taken = True
        self._problems: list[Problem] = []
        self._question: Question | None = None
        self._own: OwnModel | None = None
        self._searches = ExitStack()
        self.following = True
        self._cursor = 0

    # What the screen asks --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow."""
        garbage.leave_out_imports()
        self._searches.enter_context(garbage.short_searches())
        self._feed.start(self._arrived, self._connection)
        self._announce()

    @property
    def state(self) -> State:
        """Whether there is a connection."""
        return self._feed.state

    @property
    def view(self) -> View | None:
        """What the teacher's lens shows; None where nothing is shared of it."""
        return self._received.view if self._received else None

    @property
    def has_model(self) -> bool:
        """Whether the model is loaded here, or is being loaded."""
        return self._own is not None

    def look(self, cursor: int | None = None) -> None:
        """Look around from now on, at a position, or at the teacher's; a value beyond an end means that end."""
        if self._received is None or (snapshot := self._received.frame.snapshot) is None:
            return
        if self.following:
            self.following, self._cursor = False, snapshot.cursor
        if cursor is not None:
            self._cursor = max(1, min(cursor, len(snapshot.tokens)))
        self._publish()

    @property
    def cursor(self) -> int:
        """The position that is looked at: how many tokens stand before it."""
        snapshot = self._received.frame.snapshot if self._received else None
        return snapshot.cursor if self.following and snapshot else self._cursor

    def follow(self) -> None:
        """Show what the teacher sees again."""
        self.following = True
        self._publish()

    def load_model(self) -> None:
        """Load the model of the shared walk here, to look around with it."""
        choice = self._choice or (self._received.frame.choice if self._received else None)
        if choice is None:
            self._warn(UserError(_("what is shared does not say where its model comes from")))
        elif self._own is None:
            self._own = OwnModel(choice, self._publish, self._fps)
            self._own.ask(self._question)
        self.look()

    # In the place of a runner ----------------------------------------------------------------------------------------

    def ask(self, question: Question | None) -> None:
        """Put the question that the frames answer from now on; None asks nothing."""
        self._question = question
        if self._own:
            self._own.ask(question)
        self._announce()

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        """Nothing: an operation would change the walk."""
        self._warn(_(READ_ONLY))

    def _put(self, run: Callable[[], object], interrupts: bool, slot: str | None = None) -> None:
        self._warn(_(READ_ONLY))

    def pause(self) -> None:
        """Nothing."""

    def take(self) -> tuple[Frame, list[Problem]]:
        """The newest frame, and the problems since the last one."""
        with self._lock:
            self._taken, received = True, self._received
        problems, self._problems = self._problems, []
        if received is None or received.frame.snapshot is None:
            return Frame(activity="idle"), problems
        frame = received.frame if self.following else self._own_frame(received.frame, received.frame.snapshot, problems)
        return frame, problems

    @property
    def at_rest(self) -> bool:
        """Whether the last frame was taken, and the model here has nothing to do."""
        return self._taken and (self._own is None or self._own.at_rest)

    def close(self, timeout: float = 0.05) -> bool:
        """Follow no longer; whether all threads of models have ended."""
        self._feed.close()
        self._searches.close()
        return self._own is None or self._own.close(timeout)

    # Frames ----------------------------------------------------------------------------------------------------------

    def _own_frame(self, shared: Frame, snapshot: Snapshot, problems: list[Problem]) -> Frame:
        """The frame of the viewer's own position."""
        cursor = self._cursor = min(self._cursor, len(snapshot.tokens))
        loading = None
        if self._own:
            self._own.stand(snapshot, cursor)
            own, more = self._own.take()
            problems += more
            if own.model is None and own.activity == "idle" and more:  # it could not be loaded
                self._own = None
            elif own.snapshot and own.snapshot.cursor == cursor and own.snapshot.tokens[:1] == snapshot.tokens[:1]:
                return replace(own, snapshot=replace(own.snapshot, tokens=snapshot.tokens, typed=0))
            loading = own if own.activity == "loading" else None
        window = max(0, cursor - shared.model.context) if shared.model else 0
        seen = replace(snapshot, cursor=cursor, window=window, chart=self._charts.get(cursor), stopped="")
        answer = Refusal(UserError(_(NEEDS_MODEL), key=Action("follow.model"))) if self._question else None
        return replace(
            shared,
            activity="loading" if loading else "idle",
            loading=loading.loading if loading else None,
            snapshot=seen,
            question=self._question,
            answer=answer,
        )

    # From other threads ----------------------------------------------------------------------------------------------

    def _arrived(self, received: Received) -> None:
        """A state of the shared walk, on the thread of the feed."""
        snapshot, before = received.frame.snapshot, self._received
        if snapshot is None:
            return
        settings = snapshot.sampler, snapshot.patches, received.frame.model
        if before and before.frame.snapshot:
            last = before.frame.snapshot
            if settings != (last.sampler, last.patches, before.frame.model):
                self._charts = {}
        charts = {cursor: chart for cursor, chart in self._charts.items() if cursor <= received.kept}
        if snapshot.chart:
            charts[snapshot.cursor] = snapshot.chart
        self._charts = dict(list(charts.items())[-CHARTS:])
        self._received = received
        self._announce()

    def _connection(self) -> None:
        """It came, or went; on the thread of the feed."""
        if self._feed.problem:
            self._problems.append(self._feed.problem)
        self._announce()

    def _announce(self) -> None:
        """Say that a frame can be taken, unless that was said already."""
        with self._lock:
            taken, self._taken = self._taken, False
        if taken:
            self._publish()

    def _warn(self, problem: Problem) -> None:
        self._problems.append(problem)
        self._publish()
