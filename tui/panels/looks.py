"""Owns what the hand-painted panels share: styles looked up once a theme, not once a line."""

from rich.style import Style
from textual.widget import Widget


class Painted(Widget):
    """A widget that paints its own lines in component styles."""

    _found: dict[str, Style] | None = None

    def look(self, name: str = "") -> Style:
        """The style of a component of this widget, or its own."""
        if self._found is None:
            self._found = {}
        if name not in self._found:
            self._found[name] = self.get_component_rich_style(name) if name else self.rich_style
        return self._found[name]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._found = None
