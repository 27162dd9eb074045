"""Runs a walk in lines of text: reads commands, waits for the runner, and announces what has changed."""

import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.activations.patch import Patch
from core.errors import UserError
from core.generation.token import Token
from core.language import _, ngettext
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm, Snapshot
from tui.autosave import Autosave
from tui.drawing.text import one_line
from tui.keys import WALK
from tui.plain import words
from tui.plain.keyboard import Keyboard, key_of_line
from tui.runner import Frame, Operation, Question, Refusal, Runner
from tui.settings import Settings
from tui.wording import keys_at_present, spell

if TYPE_CHECKING:
    from tui.plain.actions import Actions

POLL = 0.05
"""Seconds between two looks at whether the runner rests."""
SILENCE = 10.0
"""Seconds after which it is said that something goes on."""
INTERRUPTING = ("walk.stop", "walk.step", "walk.generate", "app.quit")
"""Actions of a terminal's keys that do not wait until the runner rests."""
FRAMES = 20.0
"""Frames per second at most; each may hold several tokens."""


class Desk:
    """One walk. `say` prints a line at once."""

    def __init__(
        self,
        choice: ModelChoice,
        sampler: Sampler,
        *,
        say: Callable[[str], None],
        keyboard: Keyboard,
        settings: Settings = Settings(),
        count: int = 30,
        form: PromptForm = PromptForm(),
        sessions: Path,
        automatic: bool = True,
    ) -> None:
        self.choice, self.sampler, self.count, self.form = choice, sampler, count, form
        self._say, self._keyboard = say, keyboard
        self._keys = {binding.id: settings.keys.get(binding.id or "", binding.key) for binding in WALK}
        self._key_of = keys_at_present(settings.keys)
        self._wake_read, self._wake_write = os.pipe()
        self.runner = Runner(self._wake, FRAMES)
        self.runner.autosave = self.autosave = Autosave(sessions, self._report, automatic=automatic)
        self.frame = Frame()
        self._reports: deque[UserError | str] = deque()
        self._commands: deque[str] = deque()
        self._afterwards: deque[Callable[[], None]] = deque()
        self._read: Callable[[Any], Iterable[str]] | None = None
        """Makes lines of the answer that is waited for."""
        self._edits = 0
        self._said_at = time.monotonic()
        self._code: int | None = None
        """The exit code, once the walk has ended."""

    # For actions -----------------------------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        """Print a line."""
        self._said_at = time.monotonic()
        self._say(one_line(line))

    def say_all(self, lines: Iterable[str]) -> None:
        """Print lines."""
        for line in lines:
            self.say(line)

    @property
    def busy(self) -> bool:
        """Whether the runner has something to do."""
        return not self.runner.at_rest

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        """Queue an operation on the walk."""
        self.runner.submit(operation, interrupts=interrupts, instead_of=instead_of)

    def then(self, action: Callable[[], None]) -> None:
        """Act when all that was queued is done."""
        self._afterwards.append(action)

    def await_answer(self, question: Question, read: Callable[[Any], Iterable[str]]) -> None:
        """Put a question, and print the lines that `read` makes of its last answer."""
        self.runner.ask(question)
        self._read = read

    def load(self, choice: ModelChoice) -> None:
        """Load a model; the walk goes on in it, or starts from the prompt."""
        self.choice = choice
        self.runner.load(choice, self.frame.snapshot.prompt if self.frame.snapshot else "", self.sampler, self.form)

    def write(self, text: str, turn: int | None = None) -> None:
        """Let the walk begin with `text`, or in a conversation go on with it."""
        snapshot = self.frame.snapshot
        turn = (snapshot.turn if snapshot else 0) if turn is None else turn
        self._edits += 1
        edits, form = self._edits, self.form

        def prefill(session: Any) -> object:
            session.typed = edits
            return session.write(text, form, turn)

        self.submit(prefill)

    def ask(self, question: str) -> str | None:
        """Ask for a line of text: the next one of a pipe, or one that is typed."""
        line = self._keyboard.line(lambda: self.say(f"{question}:"))
        if line is None and not self._keyboard.ended:
            while not self._commands and not self._keyboard.ended:
                self._commands.extend(self._keyboard.read())
        return line if line is not None else self._commands.popleft() if self._commands else None

    def end(self, code: int = 0) -> None:
        """End the walk."""
        self._code = code

    def key_of(self, id: str) -> str:
        """The first key of an action."""
        return self._keys[id].partition(",")[0]

    def id_of(self, key: str) -> str | None:
        """The action of a key."""
        return next((id for id, keys in self._keys.items() if key in keys.split(",")), None)

    # The loop --------------------------------------------------------------------------------------------------------

    def run(self, actions: "Actions", text: str, saved: Path | None, patches: tuple[Patch, ...] = ()) -> int:
        """Walk until the end; returns the exit code."""
        if saved:
            self.runner.open(saved)
        else:
            self.runner.load(self.choice, text, self.sampler, self.form)
            if patches:
                self.submit(lambda session: session.patch(patches))
        self.runner.start()
        with self._keyboard, selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ, "runner")
            selector.register(self._keyboard.fileno, selectors.EVENT_READ, "keyboard")
            while self._code is None:
                try:
                    self._turn(selector, actions)
                except KeyboardInterrupt:
                    if self.frame.activity == "idle":
                        self.end(130)
                    actions.stop()
        return self._code

    def _turn(self, selector: selectors.BaseSelector, actions: "Actions") -> None:
        """Wait for the runner or a key; announce what is new; act on the next command where the runner rests."""
        for key, _events in selector.select(POLL):
            if key.data == "runner":
                os.read(self._wake_read, 4096)
                self._take(actions)
            elif not self._keyboard.ended:
                self._commands.extend(self._keyboard.read())
        if self._keyboard.ended and self._keyboard.fileno in selector.get_map():
            selector.unregister(self._keyboard.fileno)
        self._commands.extend(self._keyboard.tick())
        while self._reports:
            self._warn_or_say(self._reports.popleft())
        if not self.busy:
            self._rest(actions)
        elif self._keyboard.interrupts and self._commands and self._interrupts(self._commands[0]):
            self._do(actions, self._commands.popleft())
        elif time.monotonic() - self._said_at > SILENCE:
            progress = self.frame.progress or self.frame.activity_progress
            done = f", {progress.done:,} / {progress.total:,}" if progress else ""
            self.say(_("working") + done)

    def _interrupts(self, line: str) -> bool:
        return self.id_of(key_of_line(line)) in INTERRUPTING

    def _rest(self, actions: "Actions") -> None:
        """The runner rests: read the answer that was waited for, then act on what was asked for next."""
        if self._read:
            read, self._read = self._read, None
            answer = self.frame.answer
            self.runner.ask(None)
            if isinstance(answer, Refusal):
                self._warn_or_say(answer.problem)
            elif answer is not None:
                self.say_all(read(answer))
        elif self._afterwards:
            self._afterwards.popleft()()
        elif self._commands:
            self._do(actions, self._commands.popleft())
        elif self._keyboard.ended:
            self.end()

    def _do(self, actions: "Actions", line: str) -> None:
        try:
            actions.command(key_of_line(line))
        except UserError as error:
            self._warn_or_say(error)

    # Announcements ---------------------------------------------------------------------------------------------------

    def _take(self, actions: "Actions") -> None:
        before = self.frame
        self.frame, problems = self.runner.take()
        if self.frame.choice:
            self.choice = self.frame.choice
        for line in announcements(before, self.frame):
            self.say(line)
        if before.snapshot and self.frame.snapshot and before.snapshot.cursor != self.frame.snapshot.cursor:
            actions.walked()
        for problem in problems:
            self._warn_or_say(problem)

    def _warn_or_say(self, problem: UserError | str) -> None:
        self.say(spell(problem, self._key_of) if isinstance(problem, UserError) else problem)

    # From other threads ----------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        os.write(self._wake_write, b".")

    def _report(self, text: UserError | str, problem: bool) -> None:
        self._reports.append(text)
        self._wake()


def announcements(before: Frame, now: Frame) -> Iterator[str]:
    """What has changed between two frames, a line for each token and for each other change."""
    if now.activity == "loading" != before.activity:
        yield _("loading")
    if now.model != before.model and now.model:
        yield from words.status_lines(Frame(model=now.model))
    if now.snapshot:
        yield from _walk_changes(before.snapshot, now.snapshot, now)


def _walk_changes(before: Snapshot | None, now: Snapshot, frame: Frame) -> Iterator[str]:
    tokens, known = now.tokens, before.tokens if before else ()
    same = next((n for n, pair in enumerate(zip(known, tokens, strict=False)) if not _alike(*pair)), None)
    same = min(len(known), len(tokens)) if same is None else same
    written = before is None or now.prompt != before.prompt or same < now.prompt_length
    if written and (now.chart or not tokens):
        if tokens:
            yield ngettext("prompt of {count:,} token", "prompt of {count:,} tokens", now.prompt_length).format(
                count=now.prompt_length
            )
        same = now.prompt_length
    elif same < len(known):
        yield ngettext("{count:,} token taken back", "{count:,} tokens taken back", len(known) - same).format(
            count=len(known) - same
        )
    for number in range(same, len(tokens)):
        after = tokens[number + 1].score if number + 1 < len(tokens) else None
        chart = now.chart.entropy_bits if now.chart and number + 1 == now.cursor else None
        yield words.token_line(number + 1, tokens[number], after.entropy_bits if after else chart)
    moved = before is not None and now.cursor != before.cursor and len(tokens) == len(known) == same
    if moved:
        yield words.place_line(now)
    if now.chart and (written or moved or same < len(known)) and frame.activity != "generating":
        yield words.entropy_line(frame)
        yield from map(words.candidate_line, now.chart.candidates[:1])
    if now.stopped and (before is None or now.stopped != before.stopped):
        yield now.stopped


def _alike(one: Token, other: Token) -> bool:
    return (one.id, one.origin, one.redraw) == (other.id, other.origin, other.redraw)
