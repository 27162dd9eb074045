"""The row of keys at the bottom of the screen."""

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from core.language import _


class KeyFooter(Footer):
    """Textual's footer, rebuilt only when the keys change: Textual reports a possible change after every action."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: list[tuple[str, str, bool]] = []

    def compose(self) -> ComposeResult:
        for child in super().compose():
            if isinstance(child, FooterKey):
                child.description, child.tooltip = _(child.description), _(str(child.tooltip or "")) or None
                child.set_class(child.key == "question_mark", "-help")
            yield child

    def bindings_changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen:
            self.call_after_refresh(self._renew)

    async def _renew(self) -> None:
        if not (self.is_attached and self.app.screen is self.screen):  # its screen was closed or covered since then
            return
        active = self.screen.active_bindings.values()
        shown = [(each.binding.key, each.binding.description, each.enabled) for each in active if each.binding.show]
        if shown != self._shown and self.app.app_focus:
            self._shown, self._bindings_ready = shown, True
            await self.recompose()
