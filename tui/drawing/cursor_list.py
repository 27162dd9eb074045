"""A list of options whose cursor has a mark, as in the lists of lenses: color alone would not tell it."""

from collections.abc import Iterable

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Spacing
from textual.strip import Strip
from textual.style import Style
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
        marked = None if at is None or not self._shows_mark else at
        listed = [
            Option(_after(MARK if n == marked and not each.disabled else " ", each), each.id, each.disabled)
            for n, each in enumerate(options)
        ]
        self.set_options(listed)
        self._marked = None if marked is None or listed[marked].disabled else listed[marked]
        self.highlighted = at
        self._mark()

    def on_option_list_option_highlighted(self) -> None:
        self._mark()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._mark()

    @property
    def _shows_mark(self) -> bool:
        return self.has_focus or not self.can_focus

    def _mark(self) -> None:
        here = self.highlighted_option if self._shows_mark else None
        if here is self._marked:
            return
        for option, mark in ((self._marked, " "), (here, MARK)):
            if option is not None and option in self.options and not option.disabled:  # else the list was filled since
                self.replace_option_prompt_at_index(self.options.index(option), _after(mark, option, 1))
        self._marked = here


class FittedList(CursorList):
    """A `CursorList` whose lines fit its width, so that none is folded; it draws them in a quarter of the time."""

    def _update_lines(self) -> None:
        cache = self._line_cache
        if self.scrollable_content_region and not cache.lines:
            for index, option in enumerate(self.options):
                height = str(option.prompt).count("\n") + 1
                cache.index_to_line[index], cache.heights[index] = len(cache.lines), height
                cache.lines.extend((index, line) for line in range(height))
        super()._update_lines()

    def _get_option_render(self, option: Option, style: Style) -> list[Strip]:
        width = self.scrollable_content_region.width
        key = option, style, Spacing.unpack(width)
        strips = self._option_render_cache.get(key)
        if strips is None:
            assert isinstance(option.prompt, Content)
            ground = style.rich_style
            strips = [
                Strip([Segment(" ", ground), *line.render_segments(style)]).adjust_cell_length(width, ground)
                for line in option.prompt.split("\n")
            ]
            meta = {"option": self._option_to_index[option]}
            self._option_render_cache[key] = strips = [strip.apply_meta(meta) for strip in strips]
        return strips

    def _clear_caches(self) -> None:
        self._line_cache.clear()
        self.refresh()


def _after(mark: str, option: Option, skipped: int = 0) -> Content:
    """The prompt of an option after a mark, without its first characters."""
    assert isinstance(option.prompt, Content)
    return Content.assemble((mark, "bold"), option.prompt[skipped:])
