"""The command palette: actions and lenses, found by their words in any order or by other words for the same."""

import textwrap
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from rich.cells import cell_len
from textual.content import Content
from textual.widgets.option_list import Option

from core.language import N_, _
from tui.dialogs.finder import Finder
from tui.drawing.text import fit

ALSO = {
    "choose.compare": N_("kl difference quantization"),
    "choose.details": N_("info about parameters tensors layers memory rope special tokens threads"),
    "choose.device": N_("gpu cuda mps cpu dtype precision"),
    "choose.hyperparameters": N_("layers heads width context"),
    "choose.preset": N_("sampler greedy"),
    "choose.train": N_("learn loss curve checkpoint"),
    "lens.experiments": N_("ablate ablation knock out intervention zero mean noise"),
    "session.save": N_("export csv json markdown"),
    "walk.draft": N_("speculative decoding"),
    "walk.grammar": N_("constraint constrain json schema regex structured output"),
    "walk.search": N_("beam likeliest n best"),
    "walk.text": N_("perplexity score file"),
    "walk.until": N_("stop condition"),
}
"""Other words for an action, by its id."""
LISTED = 20
"""How many commands a search lists at most: the likeliest."""
TYPING_ERROR = 0.75
"""How like another a mistyped word must be, from 0 to 1."""


def plain(text: str) -> str:
    """A text in small letters without marks, as it is typed in haste: `nhiet do` finds `nhiệt độ`."""
    letters = unicodedata.normalize("NFD", text.lower().replace("đ", "d"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


@dataclass(frozen=True)
class Command:
    """A line of the palette. `key` stands before its title, and `also` has other words by which it is found."""

    title: str
    run: Callable[[], object]
    key: str = ""
    also: str = ""

    @cached_property
    def words(self) -> tuple[str, str]:
        """Its title and its other words in plain letters."""
        return plain(self.title), plain(f"{self.also} {self.key}")


class Palette(Finder):
    """Every command, or those that typing finds. It answers with the number of a command."""

    def __init__(self, title: str, commands: Iterable[Command], placeholder: str, present: str = "") -> None:
        super().__init__(placeholder, "palette")
        self._title = title
        self._commands = tuple(commands)
        self._present = present
        self._found = len(self._commands)
        """How many commands the words of the field find; the likeliest are listed."""
        self._known = {word for each in self._commands for text in each.words for word in text.split()}

    def listed(self, words: str, width: int) -> list[Option]:
        keys = max((cell_len(each.key) for each in self._commands), default=0)
        keys += 2 if keys else 0
        wanted = [meant(word, self._known) for word in plain(words).split()]
        hits = found(self._commands, wanted)
        self._found = len(hits)
        return [self._line(n, keys, width, wanted) for n in (hits[:LISTED] if wanted else hits)]

    def _line(self, number: int, keys: int, width: int, wanted: Sequence[str]) -> Option:
        command = self._commands[number]
        room = max(10, width - keys)
        first, *rest = textwrap.wrap(command.title, room)
        title = "\n".join([fit(first, room), *(f"{' ' * (keys + 1)}{fit(line, room)}" for line in rest)])
        if not rest and len(first) + 2 < room:
            title = first
        line = Content.assemble((fit(command.key, keys), "$accent"), _marked(title, wanted))
        if title == first and command.also:
            line = Content.assemble(line, (fit(f"  {command.also}", room - cell_len(first)), "$text-disabled"))
        return Option(line, id=str(number))

    def heading(self, id: str | None, found: int | None) -> str:
        count = str(self._found)
        if found is not None and found < self._found:
            count = _("{listed} of {total:,}").format(listed=found, total=self._found)
        return f"{self._title} · {count}"

    @property
    def nothing(self) -> str:
        return _("no command has these words")

    @property
    def present(self) -> str:
        return self._present


def found(commands: Sequence[Command], words: Sequence[str]) -> Sequence[int]:
    """The numbers of the commands that have all of these words, the likeliest first; of all commands without words."""
    if not words:
        return range(len(commands))
    scores = {n: likeness(words, *each.words) for n, each in enumerate(commands)}
    return sorted(filter(scores.get, scores), key=scores.__getitem__, reverse=True)


def _marked(title: str, words: Sequence[str]) -> Content:
    """A title whose parts that were typed are underlined."""
    line, letters = Content(title), plain(title)
    if len(letters) == len(title):
        for word in words:
            if (at := letters.find(word)) >= 0:
                line = line.stylize("underline", at, at + len(word))
    return line


def meant(word: str, known: Collection[str]) -> str:
    """The word as it is where it stands in one of the `known` words, else the one that it is most like, if any."""
    if any(word in each for each in known):
        return word
    return next(iter(get_close_matches(word, known, 1, TYPING_ERROR)), word)


def likeness(words: Sequence[str], title: str, also: str) -> float:
    """How well a command fits the words of a query, all of which it must have; 0 where one is missing."""
    scores = [_likeness(word, title, also) for word in words]
    return sum(scores) if all(scores) else 0.0


def _likeness(word: str, title: str, also: str) -> float:
    if title.startswith(word):
        return 4.0
    if any(each.startswith(word) for each in title.split()):
        return 3.0
    if any(each.startswith(word) for each in also.split()):
        return 2.0
    return 1.0 if word in title or word in also else 0.0
