"""Snapshots of lenses with fixed answers, compared with the stored ones."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from core.activations.patch import Patch
from core.causal.question import CausalQuestion, Measured
from core.causal.target import Target
from core.lenses.attention import AttentionView, HeadSummary
from core.lenses.attribution import Attribution, Part
from core.lenses.flow import ComponentSource, Flow, FlowStage
from core.lenses.heads import HeadsView
from core.lenses.jacobian import FitState, JacobianLens, LayerReadouts
from core.lenses.last_token import LastToken, PositionEffect
from core.lenses.logit import LayerPrediction, LogitLens, LogitMap, MapCell, TokenShare
from core.lenses.patchscope import Patchscope, PatchscopeRow
from core.lenses.weights import Histogram, NamedWeight, PartCount, Weights
from core.sampling.values import Candidate
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Compare = Callable[..., bool]
SIZES = [(80, 24), (120, 36)]
PROMPT = "I prefer oat milk in my\n"
PIECES = (b"I", b" prefer", b" oat", b" milk", b" in", "字".encode())


def pattern() -> tuple[tuple[float, ...], ...]:
    """Attention rows that sum to 1: about half on the position itself, then half as much for each earlier one."""
    rows = []
    for length in range(1, len(PIECES) + 1):
        row = [0.5 ** min(length, length - n + 0) for n in range(length)]
        rows.append(tuple(value / sum(row) for value in row))
    return tuple(rows)


ROWS = pattern()
HEADS = tuple(
    tuple(HeadSummary(1.5 - n / 8, (n + layer) % 6, 0.15 + 0.2 * n, 0.1 * n, 0.05 * layer) for n in range(4))
    for layer in range(6)
)
ATTENTION = AttentionView(2, 1, PIECES, ROWS[-1], HEADS, 5.96e-08, 0, ROWS, (0.0,) * 6, "")


def head_grid(factor: int) -> tuple[tuple[float, ...], ...]:
    """Six layers of four heads with values from 0 to 1."""
    return tuple(tuple((factor * (7 * n + 3 * m + 1)) % 23 / 23 for m in range(4)) for n in range(6))


def candidate(rank: int, share: float, piece: bytes = b" my", id: int = 3) -> Candidate:
    return Candidate(id, piece, rank, 4.5, share, share)


def layer(name: str, block: int | None, number: int) -> LayerPrediction:
    likeliest = candidate(0, 0.3 + number / 20, b" her" if number < 6 else b" my", 7 if number < 6 else 3)
    second = candidate(1, 0.1, b" the", 9)
    target = likeliest if number >= 6 else candidate(400 // (number + 1) ** 2 + 1, 0.04 * number)
    return LayerPrediction(name, block, (likeliest, second, second), target, 3.5)


NAMES = [("embedding", None)] + [(f"block {n} {half}", n) for n in range(3) for half in ("attention", "mlp")]


def map_cell(row: int, column: int) -> MapCell:
    share = 0.1 + 0.15 * row + 0.02 * column
    top = TokenShare(3, PIECES[(row + column) % len(PIECES)], share), TokenShare(9, b" the", 0.1)
    return MapCell(top, 6.0 - row, 4.0 - row, share / 2, 400 // (row + 1) ** 2, row - 1.5)


MAP = LogitMap(
    0,
    PIECES,
    ("embedding", "block 0", "block 1", "block 2"),
    TokenShare(3, b" my", 0.35),
    TokenShare(9, b" the", 0.1),
    tuple(tuple(map_cell(row, column) for column in range(len(PIECES))) if row else () for row in range(4)),
)
LOGIT = LogitLens(
    tuple(layer(name, block, n) for n, (name, block) in enumerate([*NAMES, ("output", None)])), True, 6, map=MAP
)
JACOBIAN = JacobianLens(
    Measured(Target(3, 9), b" my", b" the", 2.31),
    TokenShare(3, b" my", 0.35),
    tuple(
        LayerReadouts(name, map_cell(n, 0), map_cell(n, 1) if n else None, map_cell(n, 2))
        for n, name in enumerate(MAP.names)
    ),
    (3, 1, None),
    (3, 2, None),
    FitState("the reference text", 2, 3, 130, False, ""),
)
PATCHSCOPE = Patchscope(
    Measured(Target(3, 9), b" my", b" the", 2.31),
    b" in",
    (b"cat", "→".encode(), b"cat", b";", b" ?", "→".encode()),
    4,
    (b" cat", b"\n"),
    tuple(
        PatchscopeRow(name, name, map_cell(n, 0).top, (PIECES[n], b"\x1b", PIECES[5]), 0.1 * n, 40 * (2 - n), 2.5 - n)
        for n, name in enumerate(MAP.names[:3])
    ),
    4,
    "only the last 6 of 9 tokens fit into the context",
)

STATES = (("B", 1), ("T", 6), ("d", 64))
VALUES = (-0.1270, 0.5213, 1.25, -2.5, 0.0332, 12.5, -0.0276, 1.0)
FLOW = Flow(
    (
        FlowStage("text", "encode", 0, (("characters", 21),), (), text="I prefer oat milk in\x1b字"),
        FlowStage("ids", "encode", 0, (("B", 1), ("T", 6)), (40, 10932, 72754, 14403, 304, 17), PIECES),
        FlowStage("embedding", "embed", 0, STATES, VALUES, norm=8.0, stream=8.0),
        FlowStage("block 0 attention", "attention", 0, STATES, VALUES, norm=3.0, stream=9.5),
        FlowStage("queries", "qkv", 1, (("B", 1), ("h", 4), ("T", 6), ("c", 16)), VALUES, norm=2.0),
        FlowStage("block 0 mlp", "mlp", 0, STATES, VALUES, norm=12.0, stream=14.0),
        FlowStage("probabilities", "softmax", 0, (("B", 1), ("V", 100277)), (0.25, 0.125, 0.0625), PIECES[1:4]),
        FlowStage("token", "draw", 0, (("B", 1), ("T", 1)), (10932,), (b" prefer",)),
    ),
    tuple(
        ComponentSource(name, "x = E[i]", "torch.nn.Embedding.forward", "def forward(self, input):\n    return input\n")
        for name in ("encode", "embed", "attention", "qkv", "mlp", "softmax", "draw")
    ),
)
LAST = LastToken(
    "replace",
    tuple(PositionEffect(n, piece, b" other", 0.4 / (5 - n)) for n, piece in enumerate(PIECES[:5])),
    5,
    0.9,
    "Attention lets the last position read all earlier ones, so changing them moves what comes next.",
    "",
)
ASKED = Measured(Target(3, 7), b" my", b" the", 2.3142)
BLOCKS = tuple(
    Part(f"block {n}", value, f"{n}", inner=(Part("attention", value / 3), Part("mlp", 2 * value / 3)))
    for n, value in enumerate((0.413, -0.022, -1.27, 0.05, 0.8, -0.31, 2.65))
)
ATTRIBUTION = Attribution(ASKED, "model", "", 2.3142, (Part("token embedding", 0.0032), *BLOCKS), 2.3142)
NEURONS = (*(Part(f"neuron {40 * n}", (-1) ** n * 0.3 / n) for n in range(1, 7)), Part("1,530 other neurons", -2.0))
TOKENS = tuple(Part(str(n), 0.9 / (n - 7.5), piece=piece) for n, piece in enumerate(PIECES))
HEAD = Attribution(ASKED, "block 3 head 2", "3.attention.2", -0.88, TOKENS, -0.88)
MLP = Attribution(ASKED, "block 3 mlp", "3.mlp", -1.2, (*NEURONS[:-1], replace(NEURONS[-1], merged=1530)), -1.2)
WEIGHTS = Weights(
    (PartCount("embedding", 6_417_728, 0, 25_670_912), PartCount("attention", 65_536, 1_280, 267_264)),
    6_484_544,
    6_484_544,
    True,
    tuple(NamedWeight(f"blocks.{n}.attention.qkv.weight", (192, 64)) for n in range(12)),
    Histogram(
        "blocks.0.attention.qkv.weight", (192, 64), 0.0, 0.02, -0.08, 0.08, tuple(n * (39 - n) for n in range(40))
    ),
)
HEADS_VIEW = HeadsView(
    measured_on="random", positions=64, queries=(63, 32, 32), previous=head_grid(1), duplicate=head_grid(2),
    induction=head_grid(3), copying=tuple(tuple(2 * value - 1 for value in row) for row in head_grid(4)),
    layer=4, head=2, kind="k", composition=tuple(tuple(value / 9 for value in row) for row in head_grid(5)[:4]),
    independent=0.042, note="",
)  # fmt: skip
ANSWERS = {
    "attribution": ATTRIBUTION,
    "patchscope": PATCHSCOPE,
    "jacobian": JACOBIAN,
    "attention": ATTENTION,
    "heads": HEADS_VIEW,
    "logit": LOGIT,
    "flow": FLOW,
    "last_token": LAST,
    "weights": WEIGHTS,
}


def looking(until: Any, name: str, *keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Turn to a lens whose answer is there at once, then press keys."""

    async def go(pilot: Pilot[None]) -> None:
        async def answer() -> None:
            app.runner.show(replace(app.runner.frame, answer=ANSWERS[name]))
            await until(lambda: app.lens.answer is ANSWERS[name] and app.frame is app.runner.frame)
            for _ in range(3):
                await pilot.pause()

        app: Any = pilot.app
        await until(lambda: app.frame.snapshot is not None)
        app.do("lens.look", name)
        await until(lambda: name == app.lens.NAME and app.lens.size and app.focused is app.lens)
        await answer()
        for key in keys:
            await pilot.press(key)
            await answer()

    return go


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("attention", ()),
        ("attribution", ()),
        ("attribution", ("down", "o")),
        ("attention", ("o", "shift+down")),
        ("heads", ()),
        ("heads", ("o", "o", "o", "shift+right")),
        ("heads", ("o", "o", "o", "o")),
        ("logit", ()),
        ("logit", ("o",)),
        ("logit", ("o", "o", "shift+left")),
        ("logit", ("o", "o", "shift+up")),
        ("jacobian", ("o",)),
        ("patchscope", ()),
        ("patchscope", ("o", "down")),
        ("flow", ("down", "down", "down", "o")),
        ("last_token", ()),
        ("weights", ("o",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value).replace("+", "_") or "first",
)
def test_a_lens(
    snap_compare: Compare,
    scripted: Make,
    scenes: Any,
    until: Any,
    name: str,
    keys: tuple[str, ...],
    size: tuple[int, int],
) -> None:
    app = scripted(scenes.oat_milk(), text=PROMPT)
    assert snap_compare(app, run_before=looking(until, name, *keys), terminal_size=size)


@pytest.mark.parametrize("level", [HEAD, MLP], ids=["head", "mlp"])
def test_a_level_of_attribution(
    snap_compare: Compare, scripted: Make, scenes: Any, until: Any, level: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "attribution", level)
    app = scripted(scenes.oat_milk(), text=PROMPT)
    assert snap_compare(app, run_before=looking(until, "attribution"), terminal_size=(80, 24))


def test_a_question_on_the_chart(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    frame = scenes.oat_milk()
    first, second = frame.snapshot.chart.candidates[:2]
    asked = Measured(Target(second.id, first.id), second.piece, first.piece, -1.5)
    snapshot = replace(frame.snapshot, question=CausalQuestion(second.id), measured=asked)
    assert snap_compare(scripted(replace(frame, snapshot=snapshot), text=PROMPT), terminal_size=(80, 24))


def test_a_lens_in_the_light(snap_compare: Compare, scripted: Make, scenes: Any, until: Any) -> None:
    from tui.settings import Settings

    app = scripted(scenes.oat_milk(), text=PROMPT, settings=Settings(theme="tokenwalk-light"))
    assert snap_compare(app, run_before=looking(until, "attention"), terminal_size=(120, 36))


def test_a_patched_chart(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    frame = scenes.oat_milk()
    chart = frame.snapshot.chart
    ghosts = tuple(
        replace(c, unpatched=c.probability * (1.6 if n % 3 else 0.5)) for n, c in enumerate(chart.candidates)
    )
    patches = (Patch(kind="zero", part="head", layer=2, index=1), Patch(kind="mean", part="mlp", layer=0))
    snapshot = replace(frame.snapshot, chart=replace(chart, candidates=ghosts), patches=patches)
    assert snap_compare(scripted(replace(frame, snapshot=snapshot), text=PROMPT), terminal_size=(120, 36))
