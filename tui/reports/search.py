"""`tokenwalk search`: the states, answers and proofs of a search."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.loading.info import ModelInfo
from core.search.values import Answer, BeamState, BestState, State
from tui.drawing.search import outcome
from tui.drawing.text import fit, run_text
from tui.reports.json_values import rank_json, run_json, token_json

Piece = Callable[[int], bytes]
WIDTH = 60
"""Cells of an answer's text."""


def prefill_json(info: ModelInfo, ids: Sequence[int], plan: str) -> dict[str, Any]:
    """The first line: the model, the prompt and the plan."""
    return {**run_json(info, ids), "plan": plan}


def progress_json(state: State, piece: Piece) -> dict[str, Any]:
    """A step of a beam search with its hypotheses, or the counts, bound and gap of a search for the likeliest."""
    if isinstance(state, BeamState):
        return {
            "event": "step",
            "step": state.step,
            "running": [_short(answer, piece) for answer in state.running],
            "finished": [_short(answer, piece) for answer in state.finished],
        }
    return {"event": "progress", **_proof(state)}


def _short(answer: Answer, piece: Piece) -> dict[str, Any]:
    text = b"".join(map(piece, answer.ids)).decode("utf-8", "backslashreplace")
    return {"ids": list(answer.ids), "text": text, "logprob": answer.logprob, "score": answer.score}


def _proof(state: BestState) -> dict[str, Any]:
    return {
        "found": len(state.answers),
        "proved": state.proved,
        "bound_logprob": state.bound,
        "gap": state.gap,
        "expanded": state.expanded,
        "open": state.open,
        "longest": state.longest,
    }


def answer_json(rank: int, answer: Answer, state: State, piece: Piece) -> dict[str, Any]:
    """One answer: its rank from 1, its tokens with their own log-probabilities, and whether its rank is proved."""
    tokens = [
        {**token_json(id, piece(id)), "logprob": score.logprob, "rank": rank_json(score.rank)}
        for id, score in zip(answer.ids, answer.scores, strict=True)
    ]
    return {
        "event": "answer",
        "rank": rank,
        **_short(answer, piece),
        "ended": answer.ended,
        "proved": rank <= state.proved,
        "tokens": tokens,
    }


def done_json(state: State, seconds: float) -> dict[str, Any]:
    """The last line: why the search ended, and what is proved."""
    counts = (
        _proof(state) if isinstance(state, BestState) else {"found": len(state.answers), "expanded": state.expanded}
    )
    return {"event": "done", "reason": state.reason, **counts, "seconds": seconds}


def search_lines(state: State, piece: Piece) -> Iterator[str]:
    """The answers as a table, and below it what is proved."""
    beam = isinstance(state, BeamState)
    yield (
        f"{'#':>4}  {'answer':<{WIDTH}} {'ln p':>9} {'score':>9}"
        if beam
        else f"{'#':>4}  {'answer':<{WIDTH}} {'ln p':>9}"
    )
    for rank, answer in enumerate(state.answers, start=1):
        text = fit(run_text(map(piece, answer.ids)), WIDTH)
        score = f" {answer.score:>9.4f}" if beam else " ✓" if rank <= state.proved else ""
        yield f"{rank:>4}  {text} {answer.logprob:>9.4f}{score}"
    yield f"      {outcome(state)}"
