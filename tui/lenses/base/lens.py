"""The interface of a lens: one view of the walk, beside the chart of the next token or in its place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from rich.cells import cell_len
from textual.content import Content
from textual.strip import Strip

from core.errors import UserError
from core.language import N_, _
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.dialogs.choose import Entry
from tui.drawing.painted import Painted
from tui.drawing.text import one_line
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.walk.session import Session


BORDER = 6
"""Cells of a border that its words cannot take."""
WIDE = 60
"""Cells of a panel from which its title says the place of the lens."""


@dataclass(frozen=True, slots=True)
class KeyWords:
    """What the keys of a lens do, in one or two words each for the footer; empty where a key does nothing."""

    move: str = ""
    """`↑ ↓`."""
    choose: str = ""
    """`⏎`."""
    view: str = ""
    """`o`."""
    down: str = ""
    """`shift` with up and down."""
    across: str = ""
    """`shift` with left and right."""


class LensHost(Protocol):
    """What a lens asks of the app. Each request is queued at once, before keys that were pressed later."""

    def act(self, operation: Callable[["Session"], object], *, instead_of: str | None = None) -> None:
        """Queue an operation on the walk."""

    def do(self, action: str, *arguments: object) -> None:
        """Run the action of a key, such as `lens.move`."""

    def ask(self) -> None:
        """Queue the present question of the lens."""

    def redraw(self) -> None:
        """Draw the tokens and the generated text again, as far as the lens lets them be seen."""

    def turn_to(self, name: str) -> "Lens":
        """Show the lens with a name in place of this one."""

    @property
    def sampler(self) -> Sampler:
        """The sampler as it was asked for last."""

    def sample_with(self, sampler: Sampler) -> None:
        """Draw tokens with other settings from now on."""

    def model_entries(self) -> list[Entry]:
        """Every model, as entries of a `ChooseScreen`."""

    def device_entries(self, choice: ModelChoice) -> list[Entry]:
        """Every device and dtype for a model, as entries of a `ChooseScreen`."""

    def spell(self, problem: UserError | str) -> str:
        """A problem in one line, with the keys that are bound at present."""

    def inform(self, text: UserError | str) -> None:
        """Show a line, such as why a key does nothing."""


class Lens(Painted):
    """A view of the walk. A subclass sets the class variables and draws frames; keys call its methods below."""

    NAME: ClassVar[str] = ""
    """One word, the widget's id and the name for `KeyWords.look`. A class without a name is no lens to be found."""
    TITLE: ClassVar[str] = ""
    """The title in the border."""
    DESCRIPTION: ClassVar[str] = ""
    """What it shows, in one line of the command palette."""
    ORDER: ClassVar[int] = 0
    """Its position in the round of lenses."""
    GROUP: ClassVar[str] = N_("Inside")
    """Its section in the index of lenses, one of `tui.lenses.GROUPS`."""
    ALSO: ClassVar[str] = ""
    """Other words by which the command palette finds it."""

    KEYS: ClassVar[KeyWords] = KeyWords()
    """What its keys do in any of its views."""
    PICKS: ClassVar[bool] = True
    """Whether it has rows or cells for `↑ ↓`, `⏎` and digits; without any they act on the chart beside it."""
    BESIDE: ClassVar[bool] = True
    """Whether the chart may be seen beside it; not if it tells what the lens hides."""

    place: str = ""
    """Its number among all lenses, such as `14/26`."""

    def entitle(self, detail: str = "", title: str = "") -> None:
        """Write the border's title: `title` or that of the lens, its place where there is room, what it shows now."""
        place, room = self.place if self.outer_size.width >= WIDE else "", self.outer_size.width - BORDER
        name, now = title or _(self.TITLE), one_line(detail)
        titles = [" · ".join(filter(None, parts)) for parts in ((name, place, now), (name, now), (now or name,))]
        self.border_title = Content(next((each for each in titles if cell_len(each) <= room), titles[0]))

    def hint(self, words: str) -> None:
        """Write the keys in the lower border; where room is short, the last parts that ` · ` separates are left out."""
        parts, room = words.split(" · "), self.outer_size.width - BORDER
        while len(parts) > 1 and 0 < room < cell_len(" · ".join(parts)):
            del parts[-1]
        self.border_subtitle = Content(" · ".join(parts))

    @property
    def host(self) -> LensHost:
        """The app, as far as a lens needs it."""
        return cast(LensHost, self.app)

    def keys(self) -> KeyWords:
        """What its keys do now."""
        return self.KEYS

    @property
    def needs(self) -> str:
        """The id of the action without which it shows nothing, and its keys do nothing; else empty."""
        return ""

    def question(self) -> Question | None:
        """What the lens asks of the session; None where the frame itself is enough."""
        return None

    def show(self, frame: Frame) -> None:
        """Draw a frame."""

    pointed = False
    """Whether the last click was on what is under the cursor."""

    def point(self, down: int, across: int = 0) -> None:
        """A click so many rows and columns from the cursor: the first moves it there, the next one acts as `⏎`."""
        if not down and not across and self.pointed:
            self.pointed = False
            self.host.do("lens.choose")
            return
        if down:
            self.host.do("lens.move", down)
        if across:
            self.host.do("lens.adjust", 0, across)
        self.pointed = True

    @property
    def answered_by(self) -> str:
        """The name of the lens that answers what this one asks; empty where it asks nothing."""
        return ""

    def frame_for_panels(self, frame: Frame) -> Frame:
        """The frame that the other panels show while this lens is active."""
        return frame

    @property
    def drawing(self) -> object:
        """An object that is another one when what it shows has changed."""
        return None

    def strips(self, first: int, count: int) -> Sequence[Strip]:
        """Up to `count` of its lines, from line `first` on. None where a frame alone is drawn."""
        return ()

    def looked_at(self) -> dict[str, int | str]:
        """What its keys have gone to, for the course: such as a `block` and a `head`, from 0, a `weight` or a `row`."""
        return {}

    def move(self, by: int) -> None:
        """`↑ ↓`: move the cursor, or scroll."""

    def choose(self, number: int | None = None) -> None:
        """`⏎`: act on the row under the cursor; digits: act on row `number`, counted from 1."""

    def adjust(self, down: int, across: int) -> None:
        """`shift` with arrows: another layer or head, or another value of what the lens can vary."""

    def switch_view(self) -> None:
        """`o`: the next view of the same answer."""
