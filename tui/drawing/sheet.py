"""The base class of panels that draw lines of text and do not scroll."""

from collections.abc import Iterable

from rich.text import Text
from textual.strip import Strip

from tui.drawing.painted import Painted


class Sheet(Painted):
    """A panel of text lines that does not scroll. A subclass implements `lines`."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES = {
        "sheet--text",
        "sheet--strong",
        "sheet--muted",
        "sheet--faint",
        "sheet--bar",
        "sheet--ghost",
        "sheet--hot",
        "sheet--cursor",
    }

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._strips: list[Strip] | None = None
        self._shown: tuple[object, ...] = ()

    def lines(self, width: int, height: int) -> Iterable[Text]:
        """The lines of a panel of `width` × `height` cells."""
        raise NotImplementedError

    def changed(self, *shown: object) -> bool:
        """Draw again if these values differ from those that were drawn; returns whether they do."""
        before, self._shown = self._shown, shown
        if len(before) == len(shown) and all(a is b or a == b for a, b in zip(before, shown, strict=True)):
            return False
        self.draw()
        return True

    def draw(self) -> None:
        """Build all lines again."""
        self._strips = None
        self.refresh()

    def on_resize(self) -> None:
        self.draw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips = None

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._strips is None:
            self._strips = [self.strip_of(line, width) for line in self.lines(width, height)] if width else []
        return self._strips[y] if y < len(self._strips) else Strip.blank(width, self.style_of())

    def text(self, *parts: tuple[str, str]) -> Text:
        """A line of pieces, each with the name of a component style: `("42 %", "muted")`."""
        line = Text()
        for words, style in parts:
            line.append(words, self.style_of(f"sheet--{style}"))
        return line
