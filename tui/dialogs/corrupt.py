"""A dialog that asks for the corrupt prompt and shows its tokens under those of the clean one."""

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from core.causal.question import End, alignment
from core.errors import UserError
from core.language import _, ngettext
from tui.dialogs.modal import Modal
from tui.drawing.text import fit, label, one_line, within
from tui.notices import spelled

Piece = tuple[int, bytes]
"""A token: its id and its bytes."""
WIDEST = 14
"""Cells of a token at most."""
MISSING = "–"
MOST = 2000
"""Tokens whose alignment is shown."""


class CorruptScreen(Modal[tuple[str, End] | None]):
    """`enter` answers with the text and the end from which its tokens are aligned, `tab` changes that end.

    `tokens` gives the tokens of a text, or raises `UserError`.
    """

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("tab", "turn", "align", show=False, priority=True),
        Binding("down", "scroll(1)", "down", show=False),
        Binding("up", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, clean: Sequence[Piece], text: str, align: End, tokens: Callable[[str], Sequence[Piece]]) -> None:
        super().__init__()
        self._clean, self._text, self._align, self._tokens = clean, text, align, tokens
        self._state = Static(Content(""), classes="asks")
        self._pairs = Static(Content(""))

    def compose(self) -> ComposeResult:
        with Vertical(id="corrupt", classes="dialog wide") as dialog:
            dialog.border_title = Content(_("corrupt prompt"))
            dialog.border_subtitle = Content(_("⏎ accept · tab other end · ↑↓ scroll · esc close"))
            yield Static(Content(_("The prompt with something changed. An empty line removes it.")))
            field = Input(one_line(self._text), max_length=4000)
            field.cursor_blink = False
            yield field
            yield self._state
            with VerticalScroll(id="pairs"):
                yield self._pairs

    def on_mount(self) -> None:
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self._tokens(event.value)
        except UserError as error:
            self._state.update(Content(spelled(self, error)))
        else:
            self.dismiss((event.value, self._align))

    def action_turn(self) -> None:
        """Align from the other end."""
        self._align = "right" if self._align == "left" else "left"
        self._draw()

    def action_scroll(self, by: int) -> None:
        self.query_one("#pairs").scroll_relative(y=by, animate=False)

    def _draw(self) -> None:
        """Show the tokens as far as they can be had."""
        try:
            corrupt = self._tokens(self._text) if self._text else ()
        except UserError as error:
            self._state.update(Content(spelled(self, error)))
            self._pairs.update(Content(""))
            return
        self._state.update(Content(self._summary(corrupt)))
        width = max(20, self.query_one("#pairs").scrollable_content_region.width or 70)
        lines = self._rows(corrupt[:MOST], width) if corrupt else ()
        self._pairs.update(Content("\n").join(lines))

    def _summary(self, corrupt: Sequence[Piece]) -> str:
        """How many tokens both have, and how many pairs differ."""
        if not corrupt:
            return _("no corrupt prompt")
        pairs = alignment(self._clean, corrupt, self._align)
        differ = sum(i is None or j is None or self._clean[i] != corrupt[j] for i, j in pairs)
        left = _("{clean} and {corrupt} tokens, aligned from the left")
        right = _("{clean} and {corrupt} tokens, aligned from the right")
        lengths = left if self._align == "left" else right
        if len(corrupt) == len(self._clean):
            lengths = _("{corrupt} tokens each")
        differing = ngettext("{count} differs", "{count} differ", differ).format(count=differ)
        return f"{lengths.format(clean=len(self._clean), corrupt=len(corrupt))} · {differing}"

    def _rows(self, corrupt: Sequence[Piece], width: int) -> Iterator[Content]:
        """Clean tokens over corrupt ones, in as many pairs of lines as they need; `≠` marks those that differ."""
        above, below, marks, across = Content(""), Content(""), Content(""), 0
        for i, j in alignment(self._clean[:MOST], corrupt, self._align):
            first, second = (None if i is None else self._clean[i]), (None if j is None else corrupt[j])
            texts = [MISSING if each is None else within(label(each[1]), WIDEST) for each in (first, second)]
            cells = max(map(cell_len, texts)) + 1
            if across and across + cells > width:
                yield from (above, below, marks)
                above, below, marks, across = Content(""), Content(""), Content(""), 0
            same = first == second
            above += Content.styled(fit(texts[0], cells), "" if same else "bold")
            below += Content.styled(fit(texts[1], cells), "$text-muted" if same else "bold $warning")
            marks += Content.styled(fit("" if same else "≠", cells), "$warning")
            across += cells
        yield from (above, below, marks)
