"""The panel of a lens as an SVG picture, without a terminal."""

import asyncio
from pathlib import Path
from typing import Any

from textual.app import App, ComposeResult

from core.errors import UserError
from core.language import _
from tui import lenses, themes
from tui.lenses.base import ExportedPage


class PictureApp(App[None]):
    """An app of one lens in the colors of the playground; it is never shown."""

    CSS_PATH = Path(themes.__file__).with_name("app.tcss")

    def __init__(self, page: ExportedPage[Any]) -> None:
        super().__init__()
        self.page = page

    def compose(self) -> ComposeResult:
        yield self.page

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.HEAT

    def on_mount(self) -> None:
        self.register_theme(themes.DARK)
        self.theme = themes.DARK.name


def page_of(name: str) -> ExportedPage[Any]:
    """A page for the lens `name`. Raises `UserError` for a lens that has no picture."""
    kind = next((each for each in lenses.found() if name.replace("-", "_") == each.NAME), None)
    if kind is None or not issubclass(kind, ExportedPage):
        names = ", ".join(each.NAME.replace("_", "-") for each in lenses.found() if issubclass(each, ExportedPage))
        raise UserError(
            _("the lens {name} has no picture; those of experiments have one: {names}"), name=name, names=names
        )
    return kind()


def picture(page: ExportedPage[Any], answer: Any) -> str:
    """The answer of a lens as SVG."""

    async def draw() -> str:
        async with PictureApp(page).run_test(size=(120, 50)):
            page.answer = answer
            return page.picture()

    return asyncio.run(draw())
