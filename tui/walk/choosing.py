"""Actions that load another model, or the same one in another form."""

from collections.abc import Sequence
from dataclasses import replace

from core.engine.info import DeviceInfo
from core.errors import Action, UserError
from core.language import _
from core.loading import catalog, hub, listing
from core.loading.adapters import files as adapters
from core.loading.adapters import peft
from core.loading.choice import ModelChoice
from core.loading.listing import Offer
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.models import ModelsScreen, Picked
from tui.reports.choices import model_description
from tui.screens.hyperparameters import HyperparametersScreen
from tui.walk.group import ActionGroup
from tui.walk.panels import PanelsScreen


def model_entries() -> list[Entry]:
    """Every model that can be loaded."""
    return [Entry(offer.name, offer.name, model_description(offer), not offer.problem) for offer in listing.offers()]


def adapter_offers() -> list[Offer]:
    """The LoRA adapters in the Hub's cache, each for a model that it was made for."""
    kind, where = _("LoRA adapter"), _("for the present model, in the Hugging Face cache")
    found = hub.all_cached_adapters()
    return [Offer(name, kind, where, (folder / peft.WEIGHTS).stat().st_size) for name, folder in found]


def device_entries(choice: ModelChoice, devices: Sequence[DeviceInfo]) -> list[Entry]:
    """Every device and dtype for a model."""
    entries = []
    for info in devices:
        memory = f"{info.memory_bytes / 2**30:.0f} GiB" if info.memory_bytes else ""
        for dtype in catalog.dtypes(choice.name, info.name) if not info.problem else ("",):
            text = info.problem or f"{info.label} · {memory}"
            entries.append(Entry(f"{info.name} {dtype}", f"{info.name} {dtype}", text, not info.problem))
    return entries


class Choosing(ActionGroup):
    """The walk goes on in the other model where its tokenizer is the same, else it starts from the prompt."""

    def __init__(self, screen: PanelsScreen) -> None:
        super().__init__(screen)
        self._twins: tuple[ModelChoice | None, ModelChoice | None] = None, None
        """The choice from which the last twin was loaded, and that twin."""
        self._asked: tuple[str, float] | None = None
        """The adapter whose scale was changed, and the scale, until the walk has it."""
        self._scale_before = 1.0
        """The scale of the adapter when it was turned off last."""
        self._off = False
        """Whether it was turned off, so that a change of its scale begins at the scale before."""

    def model(self) -> None:
        """Choose a model."""
        self.open_dialog(ModelsScreen(listing.offers(), self.state.choice.name, adapter_offers()), self.take_model)

    def take_model(self, picked: Picked | None) -> None:
        """Load a model with the present settings as far as they apply to it, or an adapter beside the present model."""
        choice = self.state.choice
        try:
            if picked is None:
                return
            if picked.adapter:
                wanted = replace(choice, lora=adapters.named(picked.name), lora_scale=1.0)
                catalog.check(wanted)
                self.load(wanted)
            elif picked.name != choice.name:
                self.load(catalog.applicable(choice, picked.name))
        except UserError as error:
            self.notices.warn(error)

    def twin(self) -> None:
        """Load the trained version of an untrained rung, or the untrained one; the next press goes back."""
        before, here = self._twins
        try:
            other = before if before and here == self.state.choice else catalog.twin(self.state.choice)
        except UserError as error:
            self.notices.warn(error)
            return
        if other is None:
            name = self.state.choice.name
            self.notices.warn(
                UserError(
                    _("{name} has no trained or untrained version; {key} chooses another model"),
                    name=name,
                    key=Action("choose.model"),
                )
            )
        else:
            self._twins = self.state.choice, other
            self.load(other)

    def adapter(self) -> None:
        """Turn the LoRA adapter off, or on again at the scale it had."""
        scale = self._adapter_scale()
        self._scale_before, self._off = scale or self._scale_before, bool(scale)
        self._scale_adapter(0.0 if scale else self._scale_before)

    def adapter_scale(self, by: int) -> None:
        """Raise or lower the scale of the LoRA adapter by a tenth."""
        scale = self._scale_before if self._off else self._adapter_scale()
        self._off = False
        self._scale_adapter(round(scale + by / 10, 1))

    def _adapter_scale(self) -> float:
        """The scale that was asked for last, so that keys typed ahead add up, or the present one."""
        choice = self.state.choice
        if self._asked == (choice.lora, choice.lora_scale):
            self._asked = None
        return self._asked[1] if self._asked and self._asked[0] == choice.lora else choice.lora_scale

    def _scale_adapter(self, scale: float) -> None:
        choice = self.state.choice
        if choice.lora:
            self._asked = choice.lora, scale
            self.state.runner.scale_adapter(scale)
        else:
            self.notices.warn(
                UserError(
                    _("{name} has no LoRA adapter; {key} takes the path of one"),
                    name=choice.name,
                    key=Action("choose.model"),
                )
            )

    def device(self) -> None:
        """Choose a device and a dtype."""
        model = self.state.frame.model
        present = f"{model.device} {model.dtype}" if model else ""
        entries = device_entries(self.state.choice, self.state.frame.devices)
        self.open_dialog(ChooseScreen(_("device and dtype"), entries, present), self._take_device)

    def _take_device(self, chosen: str | None) -> None:
        if chosen is not None:
            device, dtype = chosen.split()
            self.load(replace(self.state.choice, device=device, dtype=dtype))

    def hyperparameters(self) -> None:
        """Change the sizes of a rung."""
        choice = self.state.choice
        if catalog.is_rung(choice.name):
            self.open_dialog(HyperparametersScreen(choice, self.state.frame.tokenizer), self._take_hyperparameters)
        else:
            self.notices.warn(
                UserError(
                    _(
                        "the sizes of {name} are fixed by its files; {key} chooses one of the rungs, whose sizes can "
                        "be changed"
                    ),
                    name=choice.name,
                    key=Action("choose.model"),
                )
            )

    def _take_hyperparameters(self, choice: ModelChoice | None) -> None:
        if choice is not None and choice != self.state.choice:
            self.load(choice)

    def load(self, choice: ModelChoice) -> None:
        """Load a model."""
        self.state.load(choice, self.screen.prompt.text)
