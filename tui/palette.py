"""The command palette: actions and lenses, found by their words in any order or by other words for the same."""

import unicodedata

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
ALL_WORDS = 100.0
"""What a command scores for having every word of a query, above any likeness of single letters."""


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
            known = plain(f"{command.title} {command.help}")
            score = matcher.match(command.title) + ALL_WORDS * all(word in known for word in words)
            if score > 0:
                yield Hit(score, matcher.highlight(command.title), command.callback, help=command.help)
