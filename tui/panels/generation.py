"""The text of the walk: the prompt muted, then the generated text, with the token at the cursor marked."""

import textwrap
from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from core.generation.token import Token
from core.language import _
from core.sequences import common_prefix
from core.tokenizers.tokenizer import Decoder
from tui.drawing.painted import PaintedPage
from tui.drawing.roles import LETTERS, Roles
from tui.drawing.text import prose
from tui.drawing.wrap import Wrap
from tui.runner import Frame

PROMPT_SHOWN = 2_000
"""Tokens of the prompt that are shown before the generated text, at most."""


class GenerationPanel(PaintedPage):
    """Text that grows at its end; an appended token wraps only the last line again."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES = {
        "generation--prompt",
        "generation--sampled",
        "generation--gone",
        "generation--cursor",
        "generation--empty",
        *(f"generation--{role}" for role in ("template", *LETTERS)),
    }

    def __init__(self) -> None:
        super().__init__(id="generation")
        self.border_title = Content(_("generation"))
        self._tokens: tuple[Token, ...] = ()
        self._first = 0
        self._wrap = Wrap(1)
        self._decoder = Decoder()
        self._cursor = 0
        self._window = 0
        self._prompt_length = 0
        self._roles = Roles()
        self._advice: tuple[str, ...] = ()
        self._shown: tuple[object, ...] = ()
        """What is drawn of the last frame."""
        self._pressed_at = Offset()
        """Where on the screen a button of the mouse went down."""

    class Chosen(Message):
        """A token was clicked."""

        def __init__(self, position: int) -> None:
            super().__init__()
            self.position = position

    def advise(self, *advice: str) -> None:
        """What a person may do next, a line each; it stands under the prompt until a token is generated."""
        if advice != self._advice:
            self._advice = advice
            self.refresh()

    def show(self, frame: Frame) -> None:
        """Draw the walk of a frame."""
        snapshot = frame.snapshot
        if snapshot is None:
            return
        shown = snapshot.tokens, snapshot.cursor, snapshot.window, snapshot.prompt_length, snapshot.spans
        if (*shown, self.columns, self._wrap.width) == self._shown:
            return
        before, self._tokens = self._tokens, snapshot.tokens
        moved = self._cursor != snapshot.cursor
        self._cursor, self._window = snapshot.cursor, snapshot.window
        same = (
            snapshot.prompt_length == self._prompt_length
            and self._wrap.width == self.columns
            and common_prefix(before, self._tokens, key=attrgetter("id")) == len(before)
        )
        self._prompt_length, self._roles = snapshot.prompt_length, Roles(snapshot.spans)
        if same and self.size:
            self._append(len(before))
        else:
            self._rewrap()
        later = snapshot.tokens[snapshot.prompt_length :]
        generated = sum(token.origin != "prompt" for token in later) if snapshot.spans else len(later)
        self.border_subtitle = Content(_("{generated:,} generated").format(generated=generated) if generated else "")
        if moved or not same:
            self.follow()
        self.refresh()
        self._shown = *shown, self.columns, self._wrap.width

    def on_resize(self) -> None:
        self._rewrap()
        self.follow()

    def _rewrap(self) -> None:
        if not self.size:  # hidden behind a tab; `on_show` lays it out
            return
        self._wrap, self._decoder = Wrap(self.columns), Decoder()
        self._first = max(0, self._prompt_length - PROMPT_SHOWN)
        if self._first:
            self._wrap.extend([(self._first, "… ")])
        self._append(self._first)

    def _append(self, start: int) -> None:
        self._wrap.extend(
            (index, prose(self._decoder.feed(self._tokens[index].piece))) for index in range(start, len(self._tokens))
        )
        self.set_extent(self.columns, len(self._wrap))

    def current_lines(self) -> tuple[int, int]:
        line = len(self._wrap) - 1 if self._cursor >= len(self._tokens) else self._line_of(self._cursor - 1)
        return line, line

    def _line_of(self, token: int) -> int:
        """The first line that ends with a token or with a later one; an empty line ends before all."""
        lines = range(len(self._wrap) - 1)
        return bisect_left(lines, token, key=lambda number: line[-1][0] if (line := self._wrap[number]) else -1)

    # Painting --------------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        width = self.columns
        number = self.top + y
        if len(self._tokens) <= self._prompt_length and number > len(self._wrap):
            lines = [part for line in self._advice for part in textwrap.wrap(line, width)]
            hint = "".join(lines[number - len(self._wrap) - 1 :][:1])
            return Strip([Segment(hint, self.style_of("generation--empty"))]).adjust_cell_length(width, self.style_of())
        if number >= len(self._wrap):
            return Strip.blank(width, self.style_of())
        segments = []
        for token, text in self._wrap[number]:
            shown = text.rstrip("\n")
            if token == self._cursor - 1 and text.endswith("\n"):
                shown += "↵"
            segments.append(Segment(shown, self.style_of(f"generation--{self._part(token)}")))
        strip = Strip(segments).simplify()
        if self.text_selection is not None and (span := self.text_selection.get_span(number)) is not None:
            strip = self._selected(strip, *span)
        return strip.adjust_cell_length(width, self.style_of()).apply_offsets(0, number)

    def _part(self, token: int) -> str:
        if token == self._cursor - 1:
            return "cursor"
        if token < self._window:
            return "gone"
        return self._roles.style(token) or ("prompt" if token < self._prompt_length else "sampled")

    def _selected(self, strip: Strip, start: int, end: int) -> Strip:
        text = strip.text
        first = cell_len(text[:start])
        last = strip.cell_length if end == -1 else cell_len(text[:end])
        before, chosen, after = strip.crop(0, first), strip.crop(first, last), strip.crop(last)
        return Strip.join(
            [before, chosen.apply_style(self.screen.get_component_rich_style("screen--selection")), after]
        )

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._pressed_at = event.screen_offset

    def on_click(self, event: events.Click) -> None:
        """Tell which token was clicked; the end of a drag, which selects text, is no click on a token."""
        x, y = event.get_content_offset_capture(self)
        if event.screen_offset != self._pressed_at or self.top + y >= len(self._wrap):
            return
        for token, text in self._wrap[self.top + y]:
            x -= cell_len(text.rstrip("\n"))
            if x < 0:
                self.post_message(self.Chosen(token + 1))
                return

    # Selecting -------------------------------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return "".join(self._selected_text(selection)), "\n"

    def _selected_text(self, selection: Selection) -> Iterator[str]:
        for number in range(len(self._wrap)):
            span = selection.get_span(number)
            if span is not None:
                text = "".join(text for _, text in self._wrap[number])
                start, end = span
                yield text[start:] if end == -1 else text[start:end]

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
