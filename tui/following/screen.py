"""The walk screen of somebody who follows: it shows what the teacher sees, or looks around, and changes nothing."""

from textual.binding import ActiveBinding, Binding, BindingType
from textual.widget import Widget

from core.language import _
from tui import lenses
from tui.following.mirror import MirrorLens
from tui.following.runner import FollowingRunner
from tui.keys import FOLLOW
from tui.lenses.base import Lens
from tui.lenses.chart import ChartLens
from tui.notices import Notices
from tui.runner import Frame
from tui.walk.group import ActionGroup
from tui.walk.lens_keys import LensKeys
from tui.walk.panels import AnyLens
from tui.walk.screen import WalkScreen
from tui.walk.state import WalkState


class Looking(ActionGroup):
    """Actions that move the viewer, and not the walk. The first of them stops following."""

    screen: "FollowScreen"

    def travel(self, by: int) -> None:
        """Look at another token of the walk."""
        self.screen.shared.look(self.screen.shared.cursor + by)

    def travel_home(self) -> None:
        """Look at the first token."""
        self.screen.shared.look(1)

    def travel_end(self) -> None:
        """Look at the last token."""
        self.screen.shared.look(2**53)

    def follow(self) -> None:
        """Show what the teacher sees again."""
        self.screen.shared.follow()

    def load_model(self) -> None:
        """Load the model here."""
        self.screen.shared.load_model()


class ViewerLensKeys(LensKeys):
    """Turns to lenses without the teacher."""

    screen: "FollowScreen"

    def next(self, by: int) -> None:
        """Turn to the next lens, or to the one before, beginning with the teacher's."""
        kinds = lenses.found()
        self.turn_to(kinds[(kinds.index(self.screen.lens_kind) + by) % len(kinds)])

    def look(self, name: str) -> None:
        """Turn to a lens by its name, or from it back to the next token."""
        kind = lenses.named(name)
        self.turn_to(ChartLens if self.screen.lens_kind is kind else kind)

    def turn_to(self, kind: type[AnyLens]) -> AnyLens:
        self.screen.shared.look()
        return super().turn_to(kind)


class FollowScreen(WalkScreen, inherit_bindings=False):
    """The panels, with the keys that look."""

    BINDINGS = list[BindingType](
        (
            *FOLLOW,
            Binding("tab", "focus_neighbour(1)", show=False),
            Binding("shift+tab", "focus_neighbour(-1)", show=False),
            Binding("ctrl+c,super+c", "screen.copy_text", show=False),
        )
    )

    def __init__(self, state: WalkState, notices: Notices, shared: FollowingRunner) -> None:
        super().__init__(state, notices, "")
        self.shared, self.told_of_branch = shared, True  # the teacher is told
        self.prompt.can_focus, self.prompt.placeholder = False, ""
        self.lens_kind: type[Lens] = ChartLens
        """The lens that is looked at, also where the teacher's lines are shown in its place."""
        self.lens_keys = ViewerLensKeys(self, self.ask)
        looking = Looking(self)
        self._groups = {**self._groups, "walking": looking, "looking": looking, "lens": self.lens_keys}

    def on_mount(self) -> None:
        super().on_mount()
        self.show_status()

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys that are named: not those of a lens, which change the walk or its settings."""
        return {key: each for key, each in super().active_bindings.items() if each.node in (self, self.app)}

    def panels(self) -> list[Widget]:
        return [each for each in super().panels() if each is not self.prompt]

    def turn_to(self, kind: type[AnyLens]) -> AnyLens:
        """Show a lens; without a model here, the teacher's lines where the teacher looks at the same one."""
        self.lens_kind = kind
        view = self.shared.view
        if view and view.name == kind.NAME and kind is not ChartLens and not self.shared.has_model:
            mirror = super().turn_to(MirrorLens)
            mirror.show_view(view)
            return mirror  # type: ignore[return-value]  # a lens, for callers that only draw it
        return super().turn_to(kind)

    def show(self, frame: Frame) -> None:
        """Draw a frame, with the teacher's lens while it follows."""
        if self.shared.following:
            self._follow_lens()
        elif isinstance(self.lens, MirrorLens) and (self.shared.has_model or not self._mirrors()):
            self.turn_to(self.lens_kind)
            self.ask()
        if isinstance(self.lens, MirrorLens) and self.shared.view and self._mirrors():
            self.lens.show_view(self.shared.view)
        self.candidates.absent = self._absent()
        if frame.snapshot:
            self.state.sampler = frame.snapshot.sampler
        super().show(frame)
        if self.shared.following and self.shared.view and self.shared.view.name == ChartLens.NAME:
            self.candidates.put_cursor(self.shared.view.cursor)

    def _mirrors(self) -> bool:
        """Whether the teacher looks at the lens that is looked at here."""
        return self.shared.view is not None and self.shared.view.name == self.lens_kind.NAME

    def _follow_lens(self) -> None:
        """Turn to the lens of the teacher."""
        name = self.shared.view.name if self.shared.view else ChartLens.NAME
        kind = next((each for each in lenses.found() if name == each.NAME), ChartLens)
        if kind is self.lens_kind and isinstance(self.lens, ChartLens if kind is ChartLens else MirrorLens):
            return
        self.lens_kind = kind
        if kind is ChartLens:
            super().turn_to(ChartLens)
        else:
            super().turn_to(MirrorLens)
        self.ask()

    # Words -----------------------------------------------------------------------------------------------------------

    def _absent(self) -> str:
        """Why there is no chart."""
        key = self.notices.key_of
        if self.state.frame.snapshot is None:
            return _("no walk is shared yet · tokenwalk --share shares one")
        if self.shared.following:
            return _("the teacher has no chart here")
        return _("not shared · {key} loads the model here").format(key=key("follow.model"))

    def mode(self) -> str:
        """What stands first in the status line."""
        return _("FOLLOW") if self.shared.following else _("LOOK")

    def remark(self) -> str:
        """What the status line says of the connection, and how to follow again."""
        said = {"connecting": _("waiting for a shared walk …"), "left": _("the teacher has left")}
        words = [said.get(self.shared.state, _("read-only"))]
        if not self.shared.following:
            words.append(_("{key} follows again").format(key=self.notices.key_of("follow.again")))
        return " · ".join(words)

    def _advice(self) -> list[str]:
        key = self.notices.key_of
        if self.shared.following:
            return [_("What the teacher sees is shown here. {key} and ←→ look around.").format(key=key("lens.next"))]
        return [_("{key} follows the teacher again").format(key=key("follow.again"))]
