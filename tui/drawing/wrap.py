"""Wraps text that grows at its end: an append wraps only the last line again."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

Fragment = tuple[int, str]
"""The index of a token, and a part of its text that stands in one line."""


BETWEEN = "·"
"""Stands between the parts of a line."""
_console = Console(width=1000, color_system=None, legacy_windows=False)


def folded(line: Text, width: int) -> Iterator[Text]:
    """A line of styled text in as many lines of `width` cells as it needs; none begins or ends with `·`."""
    for part in line.wrap(_console, max(8, width)):
        words = part.plain
        yield part[2 if words.startswith(f"{BETWEEN} ") else 0 : len(words.removesuffix(f" {BETWEEN}"))]


class Wrap:
    """Lines of at most `width` cells, broken after a space where there is one."""

    def __init__(self, width: int) -> None:
        self.width = max(2, width)
        self.lines: list[list[Fragment]] = []
        """Finished lines."""
        self._open: list[Fragment] = []
        """The last line; each fragment is one character."""
        self._cells = 0

    def __len__(self) -> int:
        return len(self.lines) + 1

    def __getitem__(self, index: int) -> list[Fragment]:
        return self.lines[index] if index < len(self.lines) else _merged(self._open)

    def extend(self, fragments: Iterable[Fragment]) -> None:
        """Append the text of tokens in order. A line feed ends a line and is its last character."""
        for token, text in fragments:
            for character in text:
                if character == "\n":
                    self._open.append((token, character))
                    self._break(len(self._open))
                    continue
                cells = cell_len(character)
                if self._cells + cells > self.width and character != " ":
                    self._break(self._after_last_space())
                self._open.append((token, character))
                self._cells += cells

    def _after_last_space(self) -> int:
        for index in range(len(self._open) - 1, 0, -1):
            if self._open[index][1] == " ":
                return index + 1
        return len(self._open)

    def _break(self, at: int) -> None:
        self.lines.append(_merged(self._open[:at]))
        self._open = self._open[at:]
        self._cells = sum(cell_len(character) for _, character in self._open)


def wrapped(text: str, width: int) -> list[str]:
    """A text as lines of at most `width` cells."""
    wrap = Wrap(width)
    wrap.extend([(0, text)])
    return ["".join(part for _, part in wrap[at]).rstrip() for at in range(len(wrap))]


def _merged(characters: list[Fragment]) -> list[Fragment]:
    return [
        (token, "".join(character for _, character in group)) for token, group in groupby(characters, lambda f: f[0])
    ]
