"""The status line: model, device, dtype, context, speed, seed, sampler; the least important parts are dropped first."""

from rich.text import Text
from textual.widget import Widget

from core.language import N_, _
from core.loading.info import ModelInfo
from core.progress import Loading, Progress
from core.sampling.sampler import Sampler
from tui.drawing.origins import origin_text
from tui.drawing.sampler import sampler_text
from tui.drawing.text import bytes_text, compact, one_line, short_name, within
from tui.runner import Frame
from tui.wording import COMPILING

ACTIVITIES = (N_("reading"), N_("downloading"))
"""Of a `Loading`."""
LEAST = 40
"""Cells that the sampler may have at least."""
SOON = 0.8
"""Seconds after which the line says that an engine elsewhere is waited for."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class StatusLine(Widget):
    """One line with the state of the app."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES = {
        "status--write",
        "status--walk",
        "status--model",
        "status--busy",
        "status--patched",
        "status--rule",
    }

    def __init__(self) -> None:
        super().__init__(id="status")
        self._frame = Frame()
        self._sampler = Sampler()
        self._writing = False
        self._remark = self._mode = ""
        self._spinner_step = 0

    def on_mount(self) -> None:
        self._timer = self.set_interval(0.1, self._spin, pause=True)

    def show(self, frame: Frame, sampler: Sampler, *, writing: bool, remark: str = "", mode: str = "") -> None:
        """Show the state of a frame; `sampler` holds the settings for the next draw.

        `remark` is a further part; `mode` stands in the place of WALK.
        """
        self._frame, self._sampler, self._writing = frame, sampler, writing
        self._remark, self._mode = remark, mode
        if frame.activity == "loading":
            self._timer.resume()
        else:
            self._timer.pause()
        self.refresh()

    def _spin(self) -> None:
        self._spinner_step += 1
        self.refresh()

    def render(self) -> Text:
        width = self.size.width
        text = Text(no_wrap=True, overflow="crop", end="")
        write, walk = _("WRITE"), _("WALK")
        mode_name = self._mode or (write if self._writing else walk).ljust(max(len(write), len(walk)))
        mode = "status--write" if self._writing else "status--walk"
        text.append(f" {mode_name} ", self.get_component_rich_style(mode))
        text.append(" ")
        rule = (" │ ", self.get_component_rich_style("status--rule"))
        parts = self._parts()
        while len(parts) > 1 and text.cell_len + sum(len(words) + 3 for _rank, words, _style in parts) - 3 > width:
            parts.remove(max(parts, key=lambda part: part[0]))
        for number, (_rank, words, style) in enumerate(parts):
            if number:
                text.append(*rule)
            text.append(words, self.get_component_rich_style(style) if style else "")
        return text

    def _parts(self) -> list[tuple[int, str, str]]:
        """From left to right: (rank by which it is dropped where there is no room, highest first; text; style)."""
        frame, model, busy = self._frame, self._frame.model, self._busy()
        parts: list[tuple[int, str, str]] = []
        if model:
            parts.append((1, one_line(short_name(model.name)), "status--model"))
        if busy:
            parts.append((0, busy, "status--busy"))
        if self._remark:
            parts.append((1, one_line(self._remark), ""))
        if frame.activity == "loading" and not self._mode:
            parts.append((1, _("esc cancels"), ""))
        if model and model.adapter:
            parts.append((1, one_line(_("LoRA {adapter}").format(adapter=model.adapter)), "status--patched"))
        if frame.snapshot and frame.snapshot.patches:
            parts.append((0, _("patched {count}").format(count=len(frame.snapshot.patches)), "status--patched"))
        if model:
            parts += self._model_parts(model)
        if frame.snapshot and frame.snapshot.stopped and not busy:
            parts.append((0, one_line(frame.snapshot.stopped), "status--busy"))
        if frame.rate and not busy:
            parts.append((6, f"{frame.rate:.0f} tok/s", ""))
        parts.append((3, _("seed {seed}").format(seed=self._sampler.seed), ""))
        parts.append((2, sampler_text(self._sampler, max(LEAST, self.size.width // 3)), ""))
        chart = frame.snapshot.chart if frame.snapshot else None
        if chart and chart.divergence_bits is not None:
            parts.append(
                (3, _("KL(true‖model) {divergence_bits:.3f} bits").format(divergence_bits=chart.divergence_bits), "")
            )
        if frame.training and frame.training.state in ("preparing", "training"):
            steps = f"{frame.training.recipe.steps:,}"
            parts.append((1, one_line(f"◌ {frame.training.name} {frame.training.step:>{len(steps)},}/{steps}"), ""))
        return parts

    def _model_parts(self, model: ModelInfo) -> list[tuple[int, str, str]]:
        """What is said of the model."""
        frame, parts = self._frame, list[tuple[int, str, str]]()
        used = min(frame.snapshot.cursor, model.context) if frame.snapshot else 0
        parts.append((4, one_line(f"{model.device} {model.format}".strip()), ""))
        if frame.latency is not None:
            parts.append((3, latency_text(frame.latency), ""))
        if model.slow_path:
            parts.append((1, _("slow path"), "status--busy"))
        parts.append((5, _("ctx {used}/{context}").format(used=used, context=model.context), ""))
        if model.parameters:
            parts.append((7, _("{parameters} parameters").format(parameters=compact(model.parameters)), ""))
        parts.append((8, one_line(origin_text(model.weights)), ""))
        return parts

    def _busy(self) -> str:
        frame = self._frame
        if frame.activity == "loading":
            spinner = SPINNER[self._spinner_step % len(SPINNER)]
            return f"{spinner} {loading_text(frame.loading)}"
        if frame.waiting is not None and frame.waiting > SOON:
            return _("◌ waiting {waiting:.0f} s · esc stops").format(waiting=frame.waiting)
        if frame.activity == "reading" and frame.activity_progress and frame.latency is None:
            return progress_bar(frame.activity_progress)
        if frame.activity == "generating":
            return f"▶ {frame.generated:,} · {frame.rate or 0:.0f} tok/s"
        return ""


def latency_text(seconds: float) -> str:
    """How long the last request took."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def loading_text(loading: Loading | None) -> str:
    """What is loaded: a bar of the bytes, and the tensor that is read, or the model that is downloaded."""
    if loading and loading.activity == "connecting":
        return _("connecting to {name}").format(name=within(one_line(loading.name), 40))
    if loading and loading.activity == "compiling":
        return _(COMPILING)
    if loading is None or not loading.total:
        return _("loading")
    share = loading.done / loading.total
    filled = int(10 * share)
    bar, size = f"{'━' * filled}{'╌' * (10 - filled)}", bytes_text(loading.total)
    activity, name = _(loading.activity), within(one_line(loading.name), 24)
    return _("{activity} {bar} {share:>4.0%} of {size} {name}").format(
        activity=activity, bar=bar, share=share, size=size, name=name
    )


def progress_bar(progress: Progress, width: int = 10) -> str:
    """Progress as a bar of `width` cells and a count."""
    filled = width * progress.done // max(1, progress.total)
    return f"{'━' * filled}{'╌' * (width - filled)} {progress.done:,}/{progress.total:,}"
