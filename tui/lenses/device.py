"""How long the model takes on each device, and how close its results are to the reference."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import ref

from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import meter
from tui.drawing.text import one_line
from tui.lenses.base import AnswerCache, LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.device import Devices, DeviceTimes
    from core.walk.session import Session

WHAT, TIME = 15, 11


class DeviceLens(LensPage["Devices"]):
    """Three bars for each device on one scale, and the parity of the device in use."""

    NAME = "device"
    TITLE = N_("device")
    DESCRIPTION = N_("Speed on every device, and parity with float32 on the CPU")
    ORDER = 19
    PICKS = False
    GROUP = N_("Compare")
    ALSO = N_("speed benchmark parity gpu")

    def __init__(self) -> None:
        super().__init__()
        self._cache = AnswerCache()

    def new_question(self) -> Question:
        def measure(session: "Session") -> Iterator[object]:
            return self._cache.answers(
                (ref(session.model.transformer),), lambda: lens("device")(session.current_step())
            )

        return Question(measure)

    def waiting_text(self) -> str:
        return _("measuring …")

    def lines(self, answer: "Devices", width: int, height: int) -> Iterator[Text]:
        yield self.text((_("in use: {device} {dtype}").format(device=answer.device, dtype=answer.dtype), "text"))
        yield from self._parity(answer, width)
        if speed := answer.speed:
            yield from self.folded(
                width,
                (_("{speed:,.1f} tokens per second").format(speed=speed.tokens_per_second), "text"),
                (
                    _(" · {share:.0%} of its memory bandwidth, {bandwidth:.1f} GB/s").format(
                        share=speed.bandwidth_share, bandwidth=speed.bandwidth_bytes_per_second / 1e9
                    ),
                    "text",
                ),
            )
        durations = [
            seconds
            for each in answer.times
            for seconds in (each.create_seconds, each.forward_seconds, each.train_seconds)
            if seconds is not None
        ]
        longest = max(durations, default=1.0)
        for times in answer.times:
            yield Text()
            size = _("   {size:,.1f} MB of weights").format(size=times.size_bytes / 1e6) if times.size_bytes else ""
            yield self.text((one_line(times.name), "bar"), (f"  {one_line(times.label)}", "text"), (size, "muted"))
            yield from self._times(times, answer, longest, width)
        if done := self.frame.progress:
            yield Text()
            yield self.text((_("measuring … {done}/{total}").format(done=done.done, total=done.total), "faint"))

    def _parity(self, answer: "Devices", width: int) -> Iterator[Text]:
        if answer.parity is None:
            yield from self.paragraph(answer.note or _("comparing with float32 on the CPU …"), "muted", width)
            return
        parity = answer.parity
        mark = "✓" if parity.top1 == 1 else "≈"
        yield from self.folded(
            width,
            (f"{mark} ", "bar"),
            (_("same likeliest token: {share:.1%}").format(share=parity.top1), "text"),
            (
                _(" · max |Δlogit| {logit:.2e} · KL {kl:.2e} bits").format(logit=parity.max_logit, kl=parity.kl_bits),
                "text",
            ),
        )
        words = _("compared with float32 on the CPU at {positions} positions").format(positions=parity.positions)
        yield from self.paragraph(words, "muted", width)

    def _times(self, times: "DeviceTimes", answer: "Devices", longest: float, width: int) -> Iterator[Text]:
        bar = max(6, min(40, width - WHAT - TIME - 14))
        for what, seconds, more in (
            (_("creation"), times.create_seconds, ""),
            (_("forward"), times.forward_seconds, _(" {tokens} tokens").format(tokens=answer.tokens)),
            (_("training step"), times.train_seconds, _(" 5 × 8 tokens")),
        ):
            if seconds is not None:
                yield self.text(
                    (f"{what:<{WHAT}}", "muted"),
                    (meter(seconds / longest, bar), "bar"),
                    (f"{_duration(seconds):>{TIME}}", "text"),
                    (more, "faint"),
                )
        if times.problem:
            yield from self.paragraph(times.problem, "muted", width)


def _duration(seconds: float) -> str:
    """Seconds or milliseconds, to three digits."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.{2 if seconds < 0.01 else 1}f} ms"
