"""The index of lenses: every lens by group, with what it shows and the key that opens it."""

import textwrap
from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.widgets.option_list import Option

from core.language import _
from tui import lenses
from tui.dialogs.finder import Finder
from tui.drawing.text import fit
from tui.lenses.base import Lens
from tui.screens.palette import likeness

NAME = 20
"""Cells of a name."""
MARK = 5
"""Cells before a name: of the cursor, whether the lens is shown, and its key."""


def entries(present: type[Lens], keys: Mapping[str, str], width: int, words: str = "") -> list[Option]:
    """The lines of the index in `width` cells: a heading for each group, and its lenses by name.

    Only the lenses that have every one of `words`.
    """
    options = []
    for group in lenses.GROUPS:
        members = [kind for kind in lenses.found() if group == kind.GROUP and _has(kind, words)]
        if members:
            options.append(Option(Content.styled(_(group), "bold $accent"), disabled=True))
        options += [Option(_line(kind, kind is present, keys, width), id=kind.NAME) for kind in members]
    return options


def _has(kind: type[Lens], words: str) -> bool:
    texts = (
        kind.NAME,
        *(each for text in (kind.TITLE, kind.DESCRIPTION, kind.GROUP, kind.ALSO) for each in (text, _(text))),
    )
    said = " ".join(texts).lower()
    return all(word in said for word in words.lower().split())


def _line(kind: type[Lens], present: bool, keys: Mapping[str, str], width: int) -> Content:
    room = max(10, width - NAME)
    first, *rest = textwrap.wrap(_(kind.DESCRIPTION), room)
    return Content.assemble(
        (f"{'●' if present else ' '} {keys.get(kind.NAME, ' '):<2}", "bold"),
        (fit(_(kind.TITLE), NAME), "bold"),
        ("".join([fit(first, room), *(f"\n{' ' * (MARK + NAME)}{fit(line, room)}" for line in rest)]), "$text-muted"),
    )


class LensIndex(Finder):
    """Answers with the name of a lens. The cursor begins at the one named `begins`, else at the `present` one."""

    def __init__(self, present: type[Lens], keys: Mapping[str, str], begins: str = "") -> None:
        super().__init__(_("type to filter"), "lens-index")
        self._present, self._keys = present, keys
        self._begins = begins or present.NAME

    def listed(self, words: str, width: int) -> list[Option]:
        return entries(self._present, self._keys, width - MARK, words)

    def likeliest(self, words: str, ids: Sequence[str]) -> str:
        """That whose name has the words, before those that only mention them."""
        kinds = {kind.NAME: kind for kind in lenses.found()}
        typed = words.lower().split()

        def fits(id: str) -> float:
            kind = kinds[id]
            return max(likeness(typed, title.lower(), "") for title in (kind.TITLE, _(kind.TITLE)))

        return max(ids, key=fits)

    def heading(self, id: str | None, found: int | None) -> str:
        """With the number of the lens under the cursor, in the order in which it turns; of those found, how many."""
        names = [kind.NAME for kind in lenses.found()]
        place = f"{names.index(id) + 1}/{len(names)}" if id else f"{len(names)}"
        return _("lenses · {place}").format(place=place if found is None else found)

    @property
    def foot(self) -> str:
        return _("↑↓ pick · ⏎ open · esc close")

    @property
    def nothing(self) -> str:
        return _("no lens has these words")

    @property
    def present(self) -> str:
        return self._begins
