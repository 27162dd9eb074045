"""The row of keys at the bottom of the screen: what each key does now; a click does what the key does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import ActiveBinding
from textual.screen import Screen
from textual.strip import Strip

from core.language import _
from tui.drawing.painted import Painted

OWN = ""
"""Where, among the ids of keys, those stand that have no place of their own."""


@dataclass(frozen=True, slots=True)
class FooterKey:
    """One key of the row, or two that have one label, such as `↑↓`."""

    keys: tuple[str, ...]
    label: str
    words: str
    enabled: bool

    @property
    def cells(self) -> int:
        """Its width in cells."""
        return cell_len(self.label) + cell_len(self.words) + 3

    def key_at(self, x: int) -> str:
        """The key that a click in cell `x` means."""
        return self.keys[-1] if x == cell_len(self.label) else self.keys[0]


class KeyFooter(Painted):
    """The most useful keys first; those that have no room are left out whole.

    `order` gives the ids of bindings by their use; the last of them always has room. `words` says in other words what
    some of them do now; an empty text leaves a key out.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES = {"footer--key", "footer--words", "footer--off"}

    def __init__(
        self,
        order: Callable[[], Sequence[str]] = lambda: (OWN,),
        words: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__()
        self._order, self._words = order, words
        self.keys: tuple[FooterKey, ...] = ()
        """Those that have room."""
        self._active: tuple[FooterKey, ...] = ()

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self.bindings_changed)

    def on_unmount(self) -> None:
        self.screen.bindings_updated_signal.unsubscribe(self)

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Textual reports a possible change after every action."""
        if self.is_attached and screen is self.screen:
            self.call_after_refresh(self.renew)

    def renew(self) -> None:
        """Draw the row again if other keys act, or do something else."""
        if not (self.is_attached and self.app.screen is self.screen):  # its screen was closed or covered since then
            return
        active = tuple(self._in_order())
        if active != self._active and self.app.app_focus:
            self._active = active
            self.on_resize()

    def on_resize(self) -> None:
        """Leave out what has no room."""
        keys = list(self._active)
        pinned = self._order()[-1] != OWN
        while len(keys) > 1 and sum(key.cells for key in keys) > self.size.width:
            del keys[-2 if pinned else -1]
        self.keys = tuple(keys)
        self.refresh()

    def _in_order(self) -> Iterator[FooterKey]:
        found: dict[str, list[FooterKey]] = {id: [] for id in self._order()}
        words, active = self._words(), list(self.screen.active_bindings.values())
        seen = set[str]()
        for number, (_node, binding, enabled, _tooltip) in enumerate(active):
            name, id = _(words.get(binding.id or "", binding.description)), binding.id or ""
            place = id if id in found else OWN
            if name and (binding.show or place != OWN) and binding.action not in seen:
                seen.add(binding.action)
                label = self.app.get_key_display(binding)
                both = (binding.key, *_partner(active, number, label))
                found.setdefault(place, []).append(FooterKey(both, label, name, enabled))
        for keys in found.values():
            yield from keys

    # Painting and clicks ---------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        segments = []
        for key in self.keys:
            off = "" if key.enabled else "footer--off"
            segments.append(Segment(f" {key.label} ", self.style_of(off or "footer--key")))
            segments.append(Segment(f"{key.words} ", self.style_of(off or "footer--words")))
        return Strip(segments).adjust_cell_length(self.size.width, self.style_of())

    def on_mouse_down(self, event: events.MouseDown) -> None:
        left = 0
        for key in self.keys:
            if left <= event.x < left + key.cells and key.enabled:
                self.app.simulate_key(key.key_at(event.x - left))
            left += key.cells


def _partner(active: Sequence[ActiveBinding], number: int, label: str) -> tuple[str, ...]:
    """The key that a label of two keys, such as `↑↓` or `[ ]`, names second: the one that is bound next."""
    if len(label.strip("^⇧").replace(" ", "")) != 2 or label.isalnum():
        return ()
    action = active[number].binding.action
    return next(((each.binding.key,) for each in active[number:] if each.binding.action != action), ())
