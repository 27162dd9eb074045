"""Actions on the lens that was chosen, and on the chart beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from core.atomic import replacing
from core.errors import UserError
from core.language import _
from core.sessions import storage
from tui import lenses
from tui.dialogs.notebook import NotebookScreen
from tui.lenses.base import ExportedPage
from tui.lenses.base.exported import Form
from tui.lenses.chart import ChartLens
from tui.lenses.continuations import ContinuationsLens
from tui.walk.group import ActionGroup
from tui.walk.panels import AnyLens, PanelsScreen


class LensKeys(ActionGroup):
    """Turn to a lens, or let it act. `ask` puts the question of the lens to the runner."""

    def __init__(self, screen: PanelsScreen, ask: Callable[[], None]) -> None:
        super().__init__(screen)
        self._ask = ask

    def next(self, by: int) -> None:
        """Turn to the next lens, or to the one before."""
        kinds = lenses.found()
        self.turn_to(kinds[(kinds.index(type(self.screen.lens)) + by) % len(kinds)])

    def look(self, name: str) -> None:
        """Turn to a lens by its name, or from it back to the next token."""
        kind = next(lens for lens in lenses.found() if name == lens.NAME)
        self.turn_to(ChartLens if isinstance(self.screen.lens, kind) else kind)

    def turn_to(self, kind: type[AnyLens]) -> AnyLens:
        """Show a lens, ask its question and draw what is known."""
        lens = self.screen.turn_to(kind)
        self._ask()
        lens.show(self.state.frame)
        self.screen.show_walk(self.state.frame)
        return lens

    def continuations(self) -> None:
        """Turn to the continuations, and sample them."""
        lens = self.turn_to(ContinuationsLens)
        samples, count = lens.samples, self.state.count
        self.submit(lambda session: session.continuations.sample(samples, count))

    def move(self, by: int) -> None:
        """Move along what the lens lists."""
        self.screen.picking.move(by)

    def choose(self, number: int | None = None) -> None:
        """Act on the row under the cursor, or on row `number`, counted from 1."""
        self.screen.picking.choose(number)

    def adjust(self, down: int, across: int) -> None:
        """Show another layer or head, or another value of what the lens varies."""
        self.screen.lens.adjust(down, across)

    def notebook(self) -> None:
        """Show the Python that computes what the lens shows, and offer to write it to a file."""
        lens = self.screen.lens
        if not isinstance(lens, ExportedPage):
            names = ", ".join(_(kind.TITLE) for kind in lenses.found() if issubclass(kind, ExportedPage))
            self.notices.warn(_("only lenses of experiments are exported: {names}").format(names=names))
            return
        try:
            code = lens.notebook()
        except UserError as error:
            self.notices.warn(error)
        else:
            self.open_dialog(NotebookScreen(_(lens.TITLE), code), lambda chosen: self._take_away(lens, code, chosen))

    def _take_away(self, lens: ExportedPage[Any], code: str, chosen: str | None) -> None:
        if chosen == "copy":
            self.notices.copy(code, _("copied the lines of Python"))
        elif chosen:
            self._write(lens, chosen)

    def _write(self, lens: ExportedPage[Any], form: str) -> None:
        """Write the answer into the current folder."""
        snapshot = self.state.frame.snapshot
        path = storage.free(Path.cwd(), f"{lens.NAME} {snapshot.prompt if snapshot else ''}", f".{form}")
        try:
            text = lens.exported(cast(Form, form)).encode("utf-8", "backslashreplace")
            with replacing(path) as file:
                file.write(text)
        except UserError as error:
            self.notices.warn(error)
        else:
            self.notices.inform(_("written to {path}").format(path=path))

    def switch_view(self) -> None:
        """Show the next view of the lens."""
        self.screen.keyed.switch_view()
