"""The line that is typed in a terminal, key after key. Escape leaves it, which a terminal's own lines cannot do."""

import unicodedata
from collections.abc import Callable

from rich.cells import cell_len

from tui.plain.keyboard import Key, Line

BELL = "\a"


class LineEditor:
    """Takes keys until a line is complete, and echoes what they write."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self.text = ""
        """What is typed so far."""

    def take(self, command: Key | Line) -> Line | None:
        """The line that is complete with `command`; None where more keys follow."""
        match command:
            case Line():  # a pipe gives whole lines
                self.text = ""
                return command
            case Key("escape" | "ctrl+d"):
                return self._ended(Line(None))
            case Key("enter" | "ctrl+j"):
                return self._ended(Line(self.text))
            case Key("backspace" | "ctrl+h"):
                self._erase(1)
            case Key("ctrl+w"):
                self._erase(len(self.text) - len(self.text.rstrip().rpartition(" ")[0]))
            case Key("ctrl+u"):
                self._erase(len(self.text))
            case Key("tab"):
                self._write("\t", " ")
            case Key(character=character) if character:
                self._write(character, character)
            case _:
                self._echo(BELL)
        return None

    def interrupted(self, say: Callable[[], None]) -> None:
        """Say a line between what is typed, which stands under it again."""
        if self.text:
            self._echo("\n")
        say()
        if self.text:
            self._echo(self.text.replace("\t", " "))

    def _ended(self, line: Line) -> Line:
        self.text = ""
        self._echo("\n")
        return line

    def _write(self, text: str, shown: str) -> None:
        self.text += text
        self._echo(shown)

    def _erase(self, count: int) -> None:
        """Take back `count` characters, each with the marks over it."""
        if not self.text:
            self._echo(BELL)
            return
        kept = self.text[: len(self.text) - count]
        while kept and unicodedata.combining(self.text[len(kept)]):
            kept = kept[:-1]
        gone = cell_len(self.text[len(kept) :].replace("\t", " "))
        self.text = kept
        self._echo("\b" * gone + " " * gone + "\b" * gone)
