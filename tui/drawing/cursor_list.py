"""A list of options whose cursor has a mark, as in the lists of lenses: color alone would not tell it."""

from collections.abc import Iterable

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

MARK = "›"


class CursorList(OptionList):
    """An `OptionList` with one cell before each line, where `›` marks the one under the cursor.

    A list that can have the focus shows the mark while it has it.
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marked: Option | None = None

    def fill(self, options: Iterable[Option], at: int | None = None) -> None:
        """List these options, with the cursor at one of them; each prompt is `Content`."""
        self.set_options([Option(_after(" ", each), each.id, each.disabled) for each in options])
        self.highlighted = at
        self._mark()

    def on_option_list_option_highlighted(self) -> None:
        self._mark()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._mark()

    def _mark(self) -> None:
        here = self.highlighted_option if self.has_focus or not self.can_focus else None
        for option, mark in ((self._marked, " "), (here, MARK)):
            if option is not None and option in self.options and not option.disabled:  # else the list was filled since
                self.replace_option_prompt_at_index(self.options.index(option), _after(mark, option, 1))
        self._marked = here


def _after(mark: str, option: Option, skipped: int = 0) -> Content:
    """The prompt of an option after a mark, without its first characters."""
    assert isinstance(option.prompt, Content)
    return Content.assemble((mark, "bold"), option.prompt[skipped:])
