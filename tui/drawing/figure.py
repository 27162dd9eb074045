"""Sets up plotext, the only place that does: a blank figure without axes or colors, and its finished rows."""

from typing import Any

import plotext


def blank_figure(width: int, height: int) -> Any:
    """An empty figure of `width` × `height` cells. plotext has one figure, so it must be drawn before the next one."""
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.axes(False)
    return figure


def rows_of(figure: Any, width: int, height: int) -> tuple[str, ...]:
    """The drawn figure as exactly `height` rows of exactly `width` characters."""
    drawn = plotext.uncolorize(figure.build().string()).split("\n")[:height]
    return tuple(row.ljust(width)[:width] for row in (*drawn, *[""] * (height - len(drawn))))
