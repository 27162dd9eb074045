"""The command palette: actions and lenses, found by their words in any order or by other words for the same."""

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.theme import ThemeProvider

from core.language import N_, _

ALSO = {
    "choose.compare": N_("kl difference quantization"),
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

    async def discover(self) -> Hits:
        for command in self.app.get_system_commands(self.screen):
            yield DiscoveryHit(command.title, command.callback, help=command.help)

    async def search(self, query: str) -> Hits:
        matcher, words = self.matcher(query), plain(query).split()
        for command in self.app.get_system_commands(self.screen):
            if score := likeness(words, plain(str(command.title)), plain(str(command.help))):
                yield Hit(score, matcher.highlight(command.title), command.callback, help=command.help)


def likeness(words: Sequence[str], title: str, also: str) -> float:
    """How well a command fits the words of a query, which all must be like one of its own; 0 where one is not."""
    scores = [_likeness(word, title, also) for word in words]
    return sum(scores) if all(scores) else 0.0


def _likeness(word: str, title: str, also: str) -> float:
    known = title.split()
    if title.startswith(word):
        return 5.0
    if any(each.startswith(word) for each in known):
        return 4.0
    if any(each.startswith(word) for each in also.split()):
        return 3.0
    if word in title or word in also:
        return 2.0
    return 1.0 if get_close_matches(word, [*known, *also.split()], 1, TYPING_ERROR) else 0.0
