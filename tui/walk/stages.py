"""Actions on the stages of the sampler, in the lens that shows them."""

from collections.abc import Callable

from core.errors import UserError
from core.sampling.sampler import PRESETS, Sampler
from core.sampling.stages import found
from core.sampling.stages.stage import Stage
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.drawing.sampler import sampler_text
from tui.lenses.sampler import SamplerLensPage
from tui.screens.samplers import SamplersScreen
from tui.walk.group import ActionGroup
from tui.walk.lens_keys import LensKeys
from tui.walk.panels import PanelsScreen

WRITTEN = "Stages in their order, such as top_k=40,min_p=0.05,temp=0.8; - before one that is off."


class Stages(ActionGroup):
    """The stage that they act on is under the cursor of the sampler lens, which they turn to."""

    def __init__(self, screen: PanelsScreen, use: Callable[[Sampler], None], lens_keys: LensKeys) -> None:
        super().__init__(screen)
        self._use, self._lens_keys = use, lens_keys

    @property
    def _page(self) -> SamplerLensPage:
        lens = self.screen.lens
        return lens if isinstance(lens, SamplerLensPage) else self._lens_keys.turn_to(SamplerLensPage)

    def _take(self, sampler: Sampler, at: int | None = None) -> None:
        page = self._page
        self._use(sampler)
        if at is not None:
            page.go_to(at)

    # The row of stages -----------------------------------------------------------------------------------------------

    def add(self) -> None:
        """Choose a stage that the sampler does not have, and add it at its usual place."""
        present = {stage.NAME for stage in self.state.sampler.stages}
        entries = [Entry(name, kind.TITLE, kind.FORMULA) for name, kind in found().items() if name not in present]
        if entries:
            self.open_dialog(ChooseScreen("add a stage", entries, ""), self._add)
        else:
            self.notices.warn("the sampler has every stage there is")

    def _add(self, name: str | None) -> None:
        if name is None:
            return
        kind = found()[name]
        if kind.EXAMPLE:
            hint = f"{kind.form()} · {kind.FORMULA}"
            self.open_dialog(LineScreen("add a stage", hint, kind.EXAMPLE, check=self._read_one), self._insert_written)
        else:
            self._insert(kind.usual())

    def _read_one(self, text: str) -> Stage:
        """The one stage of a text. Raises `UserError` for another number of them."""
        stages = Sampler.read(text).stages
        if len(stages) != 1:
            raise UserError("write one stage")
        return stages[0]

    def _insert_written(self, text: str | None) -> None:
        if text is not None:
            self._insert(self._read_one(text))

    def _insert(self, stage: Stage) -> None:
        sampler = self.state.sampler.with_stage(stage)
        self._take(sampler, sampler.stages.index(stage))

    def remove(self) -> None:
        """Remove the stage under the cursor."""
        if self._page.stage:
            at = self._page.cursor
            self._take(self.state.sampler.without(at), max(0, at - 1))

    def move(self, by: int) -> None:
        """Apply the stage under the cursor earlier or later."""
        if self._page.stage:
            at = self._page.cursor
            last = len(self.state.sampler.stages) - 1
            self._take(self.state.sampler.moved(at, by), max(0, min(at + by, last)))

    def reset(self) -> None:
        """Give the stage under the cursor its usual values."""
        if stage := self._page.stage:
            usual = type(stage).usual()
            self._take(self.state.sampler.with_stage(usual if usual.active else type(stage)()))

    # The whole sampler -----------------------------------------------------------------------------------------------

    def preset(self) -> None:
        """Choose a sampler by its name."""
        entries = [Entry(name, name, text) for name, text in PRESETS.items()]
        stages = str(self.state.sampler)
        present = next((name for name, text in PRESETS.items() if text == stages), "")
        self.open_dialog(ChooseScreen("sampler", entries, present), self._take_written)

    def write(self) -> None:
        """Write the stages as a line."""
        self.open_dialog(
            LineScreen("sampler", WRITTEN, str(self.state.sampler), check=Sampler.read), self._take_written
        )

    def _take_written(self, text: str | None) -> None:
        if text is not None:
            sampler = Sampler.read(text, self.state.sampler.seed)
            self._use(sampler)
            self.notices.inform(f"sampler: {sampler_text(sampler)}")

    def side_by_side(self) -> None:
        """Five samplers side by side."""
        self.open_dialog(SamplersScreen(self.state.frame, self.state.sampler.seed), self._take_column)

    def _take_column(self, sampler: Sampler | None) -> None:
        if sampler is not None:
            self._use(sampler)
        self._lens_keys.ask_again()
