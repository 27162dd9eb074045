"""The command palette: actions and lenses, found by their words in any order or by other words for the same."""

import unicodedata
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import cached_property
from heapq import nlargest
from operator import itemgetter

from textual.app import SystemCommand
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.theme import ThemeProvider

from core.language import N_, _

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
"""How many commands a search lists at most; to draw all that a single letter finds would delay the next one."""
TYPING_ERROR = 0.75
"""How like another a mistyped word must be, from 0 to 1."""


def plain(text: str) -> str:
    """A text in small letters without marks, as it is typed in haste: `nhiet do` finds `nhiệt độ`."""
    letters = unicodedata.normalize("NFD", text.lower().replace("đ", "d"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def commands() -> CommandPalette:
    """The palette of all commands."""
    return CommandPalette(placeholder=_("Search for commands…"), id="--command-palette")


def themes() -> CommandPalette:
    """The palette of themes."""
    return CommandPalette([ThemeProvider], placeholder=_("Search for themes…"))


class PaletteCommands(Provider):
    """Textual's own provider looks at titles only, and lists them by the alphabet."""

    @cached_property
    def _commands(self) -> list[tuple[SystemCommand, str, str]]:
        """Each command with its words, listed once for all keys that are typed."""
        commands = self.app.get_system_commands(self.screen)
        return [(command, plain(str(command.title)), plain(str(command.help))) for command in commands]

    @cached_property
    def _known(self) -> set[str]:
        """The words of all commands."""
        return {word for _command, title, also in self._commands for word in f"{title} {also}".split()}

    async def discover(self) -> Hits:
        for command, _title, _also in self._commands:
            yield DiscoveryHit(command.title, command.callback, help=command.help)

    async def search(self, query: str) -> Hits:
        words, matcher = [meant(word, self._known) for word in plain(query).split()], self.matcher(query)
        hits = [(likeness(words, title, also), command) for command, title, also in self._commands]
        for score, command in nlargest(LISTED, filter(itemgetter(0), hits), key=itemgetter(0)):
            yield Hit(score, matcher.highlight(command.title), command.callback, help=command.help)


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
