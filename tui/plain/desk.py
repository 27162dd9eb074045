"""Acts on keys and lines one after the other, and reads aloud what each has changed."""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from textual.pilot import Pilot

from core.errors import UserError
from core.language import _
from tui.course.keys import event
from tui.drawing.spoken import restored
from tui.drawing.text import one_line
from tui.plain.commands import Commands
from tui.plain.dialogs import Question, question
from tui.plain.keyboard import Key, Keyboard, Line, key_of_line
from tui.plain.line_editor import LineEditor
from tui.plain.screens import Reader
from tui.plain.spoken_app import SIZE, Spoken
from tui.runner import Frame

LOOK, IDLE = 0.01, 0.05
"""Seconds between two looks at what the app does, while it works and while it rests."""
SILENCE = 10.0
"""Seconds after which it is said that something goes on."""
INTERRUPTING = ("walk.stop", "walk.step", "walk.generate", "app.quit")
"""Actions that do not wait until the app rests, where a person sits at a terminal."""


class Desk:
    """Runs one app without a screen. `say` prints a line at once."""

    def __init__(self, app: Spoken, keyboard: Keyboard, say: Callable[[str], None]) -> None:
        self.app, self._keyboard, self._print = app, keyboard, say
        app.say, app.listen = self.say, self._hear
        self._fresh = False
        """Whether a frame came since it was looked for what is new."""
        self._commands: deque[Key | Line] = deque()
        self._reader = Reader(app)
        self._actions = Commands(self)
        self._question: Question | None = None
        """What is asked for at present."""
        self._text: list[str] = []
        """The lines before, of a text of several."""
        self._asking = False
        """Whether a line is asked for that belongs to no dialog."""
        self._editor = LineEditor(keyboard.echo)
        self._said_at, self._said = time.monotonic(), 0
        self._remark = ""
        self._code: int | None = None

    # Saying ----------------------------------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        """Print a line."""
        self._said_at, self._said = time.monotonic(), self._said + 1
        self._editor.interrupted(lambda: self._print(one_line(restored(line))))

    def say_all(self, lines: Iterable[str]) -> None:
        """Print lines."""
        for line in lines:
            self.say(line)

    # Running ---------------------------------------------------------------------------------------------------------

    def end(self, code: int = 0) -> None:
        """End the app."""
        self._code = code

    def begin(self) -> None:
        """Set the terminal again, as after ctrl+z."""
        self._keyboard.begin()

    async def run(self) -> int:
        """Walk until the end; returns the exit code."""
        self._keyboard.begin()
        threading.Thread(target=self._listen, args=(asyncio.get_running_loop(),), name="input", daemon=True).start()
        try:
            await self.app.run_async(headless=True, size=SIZE, auto_pilot=self._drive)
        finally:
            self._keyboard.end()
        return self._code or self.app.return_code or 0

    def interrupt(self) -> None:
        """ctrl+c: stop what goes on, or leave a question; where nothing does, end."""
        if self._question is not None or self._asking:
            self._commands.appendleft(Line(None))
        elif self.app.screen is not self.app.walk:
            self._commands.appendleft(Key("escape"))
        elif self._rests:
            self.end(130)
        else:
            self.press("escape")

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read what comes, on a thread of its own: a file can be read in no other way."""
        while not self._keyboard.ended:
            try:
                data = os.read(self._keyboard.fileno, 65536)
            except OSError:
                data = b""
            with suppress(RuntimeError, CancelledError):  # the app has ended
                asyncio.run_coroutine_threadsafe(self._received(data), loop).result()

    async def _received(self, data: bytes) -> None:
        self._commands.extend(self._keyboard.feed(data))

    async def _drive(self, _pilot: Pilot[Any]) -> None:
        """Act on what comes, each when the one before has ended."""
        self.app.walk.focus_panel(self.app.walk.lens)
        await self._settle(self._said)
        while self._code is None and self.app.is_running:
            if self._commands:
                said = self._said
                await self._act(self._commands.popleft())
                await self._settle(said)
            elif self._keyboard.ended:
                self.end()
            else:
                await asyncio.sleep(IDLE)
                self._look()
                if self._fresh and self._rests:
                    self._fresh = False
                    await self.app.delivered()  # what was shown is painted
                    self.say_all(self._reader.unasked())
        self.app.exit(return_code=self._code or 0)

    async def _act(self, command: Key | Line) -> None:
        self._said_at = time.monotonic()
        try:
            if self._question:
                if line := self._editor.take(command):
                    await self._answer(self._question, line.text)
            elif command == Key("ctrl+d"):
                self.end()
            else:
                await self._actions.take(command.name if isinstance(command, Key) else key_of_line(command.text or ""))
        except UserError as error:
            self.say(self.app.spell(error))

    async def _answer(self, asked: Question, text: str | None) -> None:
        """Take a line of a text; one that ends with a backslash goes on in the next line."""
        goes_on = text is not None and asked.several and text.endswith("\\")
        if text is not None and goes_on and not text.endswith("\\\\"):
            self._text.append(text[:-1])
            return
        lines, self._text = [*self._text, text[:-1] if text and goes_on else text or ""], []
        await asked.take(None if text is None else "\n".join(lines))

    def _hear(self, _frame: Frame) -> None:
        self._fresh = True

    def press(self, key: str) -> None:
        """Let a key of the app act."""
        self.app.post_message(event(key))

    # Resting ---------------------------------------------------------------------------------------------------------

    @property
    def _rests(self) -> bool:
        app, lessons = self.app, self.app.walk.lessons
        working = any(not worker.is_finished for worker in app.workers)
        return app.runner.at_rest and not (working or app.input_order.acting or (lessons.playing and lessons.waiting))

    async def rest(self) -> None:
        """Wait until all that was asked for is done; a key that ends it acts at once."""
        calm = 0
        while calm < 2 and self._code is None and self.app.is_running:
            await (self.app.delivered() if self._rests else asyncio.sleep(LOOK))
            calm = calm + 1 if self._rests else 0
            self._look()
            if self._keyboard.at_once and self._commands and self._interrupts(self._commands[0]):
                await self._act(self._commands.popleft())

    def _interrupts(self, command: Key | Line) -> bool:
        if self._question:
            return False
        if self.app.screen is not self.app.walk:
            return command == Key("escape")
        if self.app.state.frame.activity == "idle":
            return False
        key = command.name if isinstance(command, Key) else key_of_line(command.text or "")
        return self._actions.id_of(key) in INTERRUPTING

    def _look(self) -> None:
        """What comes without a frame: a key that nothing followed, the connection, and that something goes on."""
        self._commands.extend(self._keyboard.tick())
        if (remark := self.app.walk.remark()) != self._remark:
            self._remark = remark
            self.say_all(self._reader.spoken([remark]))
        if not self._rests and time.monotonic() - self._said_at > SILENCE:
            progress = self.app.state.frame.progress or self.app.state.frame.activity_progress
            done = f", {progress.done:,} / {progress.total:,}" if progress else ""
            self.say(_("working") + done)

    async def _settle(self, said: int) -> None:
        """Wait until the app rests, read what has changed on it, and ask for what it waits for.

        `said` is how many lines were said before the command.
        """
        await self.rest()
        if self._text or self._editor.text or self._code is not None:
            return
        before, self._question = self._question, question(self.app)
        self.say_all(self._reader.changes(quiet=self._said == said))
        if self._question:
            again = before is not None and before.screen is self._question.screen
            self.say_all(self._question.problems() if again else self._question.lines())

    # For commands ----------------------------------------------------------------------------------------------------

    @property
    def reader(self) -> Reader:
        """What reads the panels, lenses and screens."""
        return self._reader

    async def ask(self, words: str) -> str | None:
        """Ask for a line that belongs to no dialog of the app; None where there is none."""
        self.say(f"{words}:")
        self._asking, line = True, None
        while line is None and (self._commands or not self._keyboard.ended):
            if self._commands:
                line = self._editor.take(self._commands.popleft())
            else:
                await asyncio.sleep(LOOK)
                self._commands.extend(self._keyboard.tick())
        self._asking = False
        return line.text if line else None
