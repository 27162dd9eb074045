"""The tokens of the walk: each label over its id, with a tint and a bar for its surprisal."""

from bisect import bisect_right
from operator import attrgetter

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.content import Content
from textual.message import Message
from textual.strip import Strip

from core.generation.token import Token
from core.language import _
from core.sampling.bounds import low
from core.sequences import common_prefix
from core.tokenizers.tokenizer import Tokenizer
from tui.drawing.heat_map import glyph
from tui.drawing.painted import PaintedPage
from tui.drawing.roles import LETTERS, Roles
from tui.drawing.text import fit, label
from tui.runner import Frame

BARS = "▁▂▃▄▅▆▇█"
BITS_PER_BAR = 2.5
"""Surprisal in bits by which one bar is higher than the one before."""
LONGEST_HEX = 8
"""Bytes that are shown in hex at most."""
BORDER = 6
"""Cells of the border on both sides of a subtitle."""
FORMS = ((True, 2, 4), (False, 2, 4), (False, 1, 3), (False, 1, 2))
"""How rank, surprisal and u are written in less and less room; see `_drawn`."""
LONGEST_LABEL = 18
"""Cells of a label at most."""


def level(bits: float) -> int:
    """The index, 0 to 7, of the bar and tint for a surprisal in bits."""
    return max(0, min(len(BARS) - 1, int(bits / BITS_PER_BAR)))


def _hex(piece: bytes) -> str:
    """The bytes of a token, the first ones of a long one."""
    return piece.hex(" ") if len(piece) <= LONGEST_HEX else f"{piece[:LONGEST_HEX].hex(' ')} …"


def _drawn(token: Token, word: bool, bits: int, digits: int) -> str:
    """How a token came: its rank, its surprisal with so many decimals of a bit, and the digits of its u."""
    parts = []
    if score := token.score:
        rank = f"{score.rank + 1:,}"
        parts.append(_("rank {rank}").format(rank=rank) if word else f"#{rank}")
        parts.append(f"{score.surprisal_bits:.{bits}f} " + (_("bits") if digits > 2 else "b"))
    if token.origin == "chosen":
        parts.append(_("chosen"))
    elif token.u is not None:
        parts.append(f"u {token.u:.{digits}f}")
    return " · ".join(parts)


class TokensPanel(PaintedPage):
    """A grid of tokens in reading order; only visible rows are drawn."""

    COMPONENT_CLASSES = {
        "tokens--id",
        "tokens--gone",
        "tokens--cursor",
        "tokens--hot",
        "tokens--above",
        "tokens--below",
        "tokens--empty",
        *(f"tokens--{role}" for role in ("template", *LETTERS)),
    }

    def __init__(self) -> None:
        super().__init__(id="tokens")
        self.border_title = Content(_("token ids"))
        self._tokens: tuple[Token, ...] = ()
        self._cells: list[tuple[str, str, int]] = []
        """Label, id and width of each token."""
        self._starts: list[int] = [0]
        """The first token of each row."""
        self._used = 0
        self._wrapped_at = 0
        self._cursor = 0
        self._window = 0
        self._prompt_length = 0
        self._roles = Roles()
        self._tokenizer: Tokenizer | None = None
        self._special: frozenset[int] = frozenset()
        """Ids of special tokens, which are underlined: a text such as `<|im_end|>` may also stand there in pieces."""
        self._unread = False
        """Whether the tokens are those of a prompt that no model has read yet."""
        self._values: tuple[float, ...] = ()
        """Signed numbers of a lens, of the tokens from `_window` on."""
        self._tints: list[Style] | None = None
        """By surprisal."""
        self._shown: tuple[object, ...] = ()
        """What is drawn of the last frame."""

    class Chosen(Message):
        """A token was clicked."""

        def __init__(self, position: int) -> None:
            super().__init__()
            self.position = position

    def show(self, frame: Frame) -> None:
        """Draw the walk of a frame."""
        snapshot = frame.snapshot
        if snapshot is None:
            return
        place = snapshot.tokens, snapshot.cursor, snapshot.window, snapshot.prompt_length, snapshot.spans
        shown = *place, frame.token_values, frame.tokenizer, self.columns
        if shown == self._shown:  # to set a title is to draw the whole panel
            return
        self._window, self._prompt_length = snapshot.window, snapshot.prompt_length
        self._roles = Roles(snapshot.spans)
        self._values = frame.token_values
        self._set(snapshot.tokens, snapshot.cursor)
        if frame.tokenizer is not self._tokenizer:
            self._tokenizer = frame.tokenizer
            self._special = frame.tokenizer.special_ids() if frame.tokenizer else frozenset()
        self._unread, self._shown = False, shown
        self.border_subtitle = self._details()

    def preview(self, tokens: tuple[Token, ...]) -> None:
        """Draw the tokens of a prompt before the model has read them."""
        self._shown = ()
        self._window, self._prompt_length, self._roles, self._values = 0, len(tokens), Roles(), ()
        self._unread = True
        self._set(tokens, len(tokens))
        self.border_subtitle = Content("")

    def _set(self, tokens: tuple[Token, ...], cursor: int) -> None:
        if tokens is self._tokens and cursor == self._cursor:
            self.refresh()
            return
        same = common_prefix(self._tokens, tokens, key=attrgetter("id"))
        moved = cursor != self._cursor or same < max(len(tokens), len(self._tokens)) or self.columns != self._wrapped_at
        self._tokens, self._cursor = tokens, cursor
        del self._cells[same:]
        self._wrap(from_token=same)
        count = len(tokens)
        place = f"{count:,}" if cursor == count else f"{cursor:,}/{count:,}"
        self.border_title = Content(_("token ids · {place}").format(place=place) if count else _("token ids"))
        if moved:
            self.follow()
        self.refresh()

    def _details(self) -> Content:
        """The token at the cursor: its rank, surprisal and the random number that drew it, and more where it fits."""
        tokens, cursor = self._tokens, self._cursor
        if self._unread or not 0 < cursor <= len(tokens):
            return Content("")
        token, room = tokens[cursor - 1], self.outer_size.width - BORDER
        lines = [_drawn(token, *form) for form in FORMS]
        line = next((each for each in lines if cell_len(each) <= room), lines[-1])
        special = _("special") if token.id in self._special else ""
        more = [self._roles.label(cursor - 1), special, _hex(token.piece)]
        if self._tokenizer and self._tokenizer.originals:
            more.append(f"cl100k {self._tokenizer.originals[token.id]}")
        for part in filter(None, more):
            longer = f"{line} · {part}" if line else part
            line = longer if cell_len(longer) <= room else line
        return Content(line)

    # Layout ----------------------------------------------------------------------------------------------------------

    def _wrap(self, from_token: int) -> None:
        """Distribute the tokens from `from_token` on over rows; earlier rows stay."""
        width = self.columns
        if not self.size:  # hidden behind a tab; `on_show` lays it out
            self._wrapped_at = 0
            return
        if width != self._wrapped_at:
            from_token, self._wrapped_at = 0, width
            self._cells.clear()
            self._starts = [0]
        row = max(0, bisect_right(self._starts, from_token) - 1)
        del self._starts[row + 1 :]
        for token in self._tokens[len(self._cells) :]:
            text, number = label(token.piece), str(token.id)
            cells = min(LONGEST_LABEL, cell_len(text), max(4, width - 3))
            self._cells.append((text, number, max(cells, len(number) + 2) + 2))
        used = 0
        for index in range(self._starts[row], len(self._cells)):
            cell = self._cells[index][2]
            if used and used + cell > width:
                self._starts.append(index)
                used = 0
            used += cell + 1
        half = self.scrollable_content_region.height % 2  # so that the last row ends above a line that is left over
        self.set_extent(width, 2 * len(self._starts) + half)

    def on_click(self, event: events.Click) -> None:
        x, y = event.get_content_offset_capture(self)
        row = (self.top + y) // 2
        if self._unread or row >= len(self._starts):
            return
        end = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._cells)
        for index in range(self._starts[row], end):
            x -= self._cells[index][2] + 1
            if x < 0:
                self.post_message(self.Chosen(index + 1))
                return

    def on_resize(self) -> None:
        self.border_subtitle = self._details()
        self._wrap(from_token=0)
        self.follow()

    def follow(self) -> None:
        super().follow()
        if self.top % 2:  # the id of a token does not stand without its piece
            self.scroll_to(y=self.top + 1, animate=False, immediate=True)

    def current_lines(self) -> tuple[int, int]:
        row = max(0, bisect_right(self._starts, max(0, self._cursor - 1)) - 1)
        return 2 * row, 2 * row + 1

    # Painting --------------------------------------------------------------------------------------------------------

    def _share(self, index: int) -> float | None:
        """The value of a lens for a token, as a share of the largest; None where there is none."""
        at = index - self._window
        if not 0 <= at < len(self._values):
            return None
        return self._values[at] / (max(map(abs, self._values)) or 1.0)

    def _signed_style(self, share: float) -> Style:
        """A background that is stronger for a larger share, of one color above zero and another below."""
        ink = Color.parse(self.styles.color.hex)
        color = self.get_component_styles("tokens--above" if share > 0 else "tokens--below").color
        return Style(color=ink.rich_color, bgcolor=self.tinted(color, 0.05 + 0.50 * abs(share)).rich_color)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._tints = None

    def _styles(self) -> list[Style]:
        if self._tints is None:
            hot = self.get_component_styles("tokens--hot").color
            shares = [0.05 + 0.50 * index / (len(BARS) - 1) for index in range(len(BARS))]
            tints = [self.tinted(hot, share) for share in shares]
            ink = Color.parse(self.styles.color.hex)
            self._tints = [Style(color=ink.rich_color, bgcolor=tint.rich_color) for tint in tints]
        return self._tints

    def render_line(self, y: int) -> Strip:
        width = self.columns
        line = self.top + y
        row, part = divmod(line, 2)
        if not self._tokens:
            empty = _("no tokens yet") if y == 0 else ""
            return Strip([Segment(fit(empty, width), self.style_of("tokens--empty"))], width)
        if row >= len(self._starts) or len(self._cells) < len(self._tokens):
            return Strip.blank(width, self.style_of())
        first = self._starts[row]
        last = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._tokens)
        segments = []
        for index in range(first, last):
            segments.append(self._piece(index) if part == 0 else self._number(index))
            segments.append(Segment(" ", segments[-1].style if part else self.style_of()))
        cells = sum(cell + 1 for _, _, cell in self._cells[first:last])
        return Strip(segments, cells).simplify().adjust_cell_length(width, self.style_of())

    def _piece(self, index: int) -> Segment:
        token, (text, _, cells) = self._tokens[index], self._cells[index]
        shown = " " + fit(text, cells - 2) + " "
        form = Style(bold=index >= self._prompt_length, underline=token.id in self._special)
        if index == self._cursor - 1:
            return Segment(shown, self.style_of("tokens--cursor"))
        share = self._share(index)
        if share is not None:
            return Segment(shown, self._signed_style(share) + form)
        if index < self._window:
            return Segment(shown, self.style_of("tokens--gone"))
        style = self._styles()[level(low(token.score.surprisal_bits))] if token.score else self._styles()[0]
        return Segment(shown, style + form)

    def _number(self, index: int) -> Segment:
        token, (_, number, cells) = self._tokens[index], self._cells[index]
        share = self._share(index)
        bar = BARS[level(low(token.score.surprisal_bits))] if token.score else " "
        bar = bar if share is None else glyph(share)
        part = "gone" if index < self._window else self._roles.style(index) or "id"
        return Segment(f"{self._roles.letter(index)}{number} {bar}".ljust(cells), self.style_of(f"tokens--{part}"))
