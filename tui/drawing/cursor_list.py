"""A list of options whose cursor has a mark, as in the lists of lenses: color alone would not tell it."""

from collections.abc import Iterable

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

MARK = "›"


class CursorList(OptionList):
    """An `OptionList` with one cell before each line, where `›` marks the one under the cursor."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marked: Option | None = None

    def fill(self, options: Iterable[Option]) -> None:
        """List these options; each prompt is `Content`."""
        self.set_options([Option(_after(" ", each), each.id, each.disabled) for each in options])

    def on_option_list_option_highlighted(self) -> None:
        for option, mark in ((self._marked, " "), (self.highlighted_option, MARK)):
            if option is not None and option in self.options:  # else the list was filled again since
                self.replace_option_prompt_at_index(self.options.index(option), _after(mark, option, 1))
        self._marked = self.highlighted_option


def _after(mark: str, option: Option, skipped: int = 0) -> Content:
    """The prompt of an option after a mark, without its first characters."""
    assert isinstance(option.prompt, Content)
    return Content.assemble((mark, "bold"), option.prompt[skipped:])
