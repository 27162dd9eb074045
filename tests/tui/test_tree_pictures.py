"""Snapshots of the lenses of the tree, compared with the stored ones."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from textual.pilot import Pilot

from core.generation.rounds import Proposal, Round, Timing
from core.generation.token import Token
from core.lenses.watermark import WatermarkedToken, WatermarkReport
from core.sampling.distribution import Distribution
from core.sampling.explain import sampler_lens
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Score
from core.search.values import Answer, BeamState, BestState, State
from core.walk import continuation_tree
from core.walk.tree import Node, Tree
from core.walk.values import DraftView, Guess, SearchMark, SearchStatus, Summary
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Compare = Callable[..., bool]
WORDS = [" the", " my", " a", " tea", ".", "\n", " 字字", b" \xf0\x9f", "\t", " your", " its", " everything", "[/b]"]
PIECES = [word if isinstance(word, bytes) else word.encode() for word in WORDS]


def looking(lens: str, answer: object, *keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Turn to a lens, answer what it asks, then press keys."""

    async def go(pilot: Pilot[None]) -> None:
        app = pilot.app
        app.runner.ask = lambda question: app.runner.show(replace(app.runner.frame, question=question, answer=answer))
        await pilot.pause()
        app.do("lens.look", lens)
        for key in ("", *keys):
            if key:
                app.simulate_key(key)
            await pilot.pause()
            await pilot.pause()

    return go


def grown() -> tuple[Tree, list[Node]]:
    """A prompt with three branches, one of which branches again and has a name, and another prompt."""
    tree, chance = Tree(), random.Random(4)

    def run(parent: Node, pieces: list[bytes], **more: Any) -> Node:
        for piece in pieces:
            p = chance.random() / 3
            score = Score(1.0, -2.3 - 9 * p, 6.5, 12) if more else None
            parent = tree.child(parent, Token(200 + len(tree.nodes), piece, score=score, **more))
        return parent

    prompt = run(tree.root, [b"I", b" prefer", b" oat", b" milk", b" in"])
    first = run(prompt, PIECES[:9] * 5, origin="sampled")
    run(prompt, [b" my", b" \xe5\xad\x97", b"\x1b[2J"], origin="chosen")
    third = run(prompt, PIECES[3:7], origin="sampled")
    run(third, PIECES[:2], origin="sampled")
    run(third, PIECES[7:], origin="chosen").parent.name = "[b]tea, 茶[/b]"
    run(tree.root, [b"I", b" do not"], origin="sampled")
    folded = run(tree.root, [b"Rice"])
    run(folded, [b" a"], origin="sampled")
    run(folded, [b" b"], origin="sampled")
    folded.folded = True
    return tree, [first, third]


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_branches(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    tree, (_, third) = grown()
    path = tree.path(third)
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    assert snap_compare(app, run_before=looking("branches", tree.forest(path, len(path), 9)), terminal_size=size)


@pytest.mark.parametrize("kind", ["beam", "best"])
def test_branches_of_a_search(snap_compare: Compare, scripted: Make, scenes: Any, kind: str) -> None:
    tree, (first, _) = grown()
    marks = [None, SearchMark("answer", 1, kind == "best"), SearchMark("running", 1), SearchMark("dropped", 0)]
    found = Answer((1, 2), (), -9.25, -4.5, ended=False)
    states: dict[str, State] = {
        "beam": BeamState(7, 20, (found,), (found, found), 28),
        "best": BestState((found,) * 3, 3, -8.75, 1234, 5000, 2345, 9),
    }
    forest = tree.forest(tree.path(first), 6, 9)
    rows = tuple(replace(row, mark=marks[number % 4]) for number, row in enumerate(forest.rows))
    status = SearchStatus("beam 4; length 20; penalty 1; stop '[/b]'", states[kind])
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    answer = replace(forest, rows=rows, search=status)
    assert snap_compare(app, run_before=looking("branches", answer), terminal_size=(80, 24))


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_sampler(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    sampler = Sampler.of(temperature=0.7, top_k=9, top_p=0.9, min_p=0.05)
    logits = torch.tensor([4.0 - n / 3 for n in range(13)] + [-1.0 - n / 500 for n in range(500)])
    answer = sampler_lens(Distribution(logits), sampler, 0.4321, lambda id: PIECES[id % len(PIECES)])
    app = scripted(scenes.oat_milk(sampler=sampler), text="I prefer oat milk in my\n", sampler=sampler)
    assert snap_compare(app, run_before=looking("sampler", answer), terminal_size=size)


@pytest.mark.parametrize("keys", [[], ["o", "down", "down"]], ids=["texts", "merged"])
def test_continuations(snap_compare: Compare, scripted: Make, scenes: Any, keys: list[str]) -> None:
    tree, _ = grown()
    prompt = next(iter(tree.root.children.values()))
    while len(prompt.children) == 1:
        (prompt,) = prompt.children.values()
    ends = [node for node in tree.nodes.values() if not node.children and prompt in tree.path(node)]
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    answer = continuation_tree.merged(prompt, [*ends, ends[1]])
    assert snap_compare(app, run_before=looking("continuations", answer, *keys), terminal_size=(120, 36))


def test_score(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    answer = Summary(10, 11, 87.25, 36, (8, 7, 9, 11, 6, 5, 10, 4, 3, 2))
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    assert snap_compare(app, run_before=looking("score", answer, "down", "down"), terminal_size=(80, 24))


def test_guess(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    def candidate(number: int, share: float) -> Candidate:
        return Candidate(200 + number, PIECES[number], number, 3.0, share, share)

    came = Token(203, PIECES[3], "sampled", Score(1.0, -2.0, 6.5, 3), 0.5)
    answer = (
        Guess(5, candidate(6, 0.0125), candidate(0, 0.31), came),
        Guess(6, candidate(3, 0.25), candidate(1, 0.5), came),
        Guess(7, candidate(12, 0.0), candidate(3, 1.0), came),
    )
    app = scripted(scenes.oat_milk(cursor=8), text="I prefer oat milk in my\n")
    assert snap_compare(app, run_before=looking("guess", answer), terminal_size=(120, 36))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_draft(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    def proposal(number: int, p: float, q: float, accepted: bool | None) -> Proposal:
        return Proposal(number, PIECES[number], p, q, accepted)

    def came(number: int) -> Token:
        return Token(number, PIECES[number], "sampled", Score(1.0, -2.0, 6.5, 3), sampled_probability=0.25)

    yes = [proposal(0, 0.9, 0.5, True), proposal(1, 0.31, 0.6, True)]
    judged = (*yes, proposal(12, 0.01, 0.4, False), proposal(7, 0.0, 0.2, None))
    rejected = Round(5, judged, (came(0), came(1), came(6)), ("accepted", "accepted", "resampled"))
    bonus = Round(8, (*yes,), (came(0), came(1), came(8)), ("accepted", "accepted", "bonus"))
    answer = DraftView("model2-trained", 4, (rejected, bonus, rejected), 3, 9, 8, 6, Timing(6, 0.6, (0.15,)))
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    assert snap_compare(app, run_before=looking("draft", answer), terminal_size=size)


def test_watermark(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    marks = [None, *[number % 3 != 0 for number in range(30)]]
    tokens = tuple(WatermarkedToken(n, PIECES[n % len(PIECES)], mark) for n, mark in enumerate(marks))
    answer = WatermarkReport(tokens, "watermark=2", 30, 20, 0.25, 5.27, 6.9e-08)
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    assert snap_compare(app, run_before=looking("watermark", answer), terminal_size=(80, 24))
