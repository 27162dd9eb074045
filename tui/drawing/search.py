"""What a search has found and proved, in one line."""

from core.search.values import BeamState, BestState, State


def outcome(state: State) -> str:
    """How far a search is, or why it ended and what is proved."""
    return _beam(state) if isinstance(state, BeamState) else _best(state)


def _beam(state: BeamState) -> str:
    done = {"": "running", "cancelled": "cancelled"}.get(state.reason, "complete")
    complete = f"{len(state.finished):,} complete"
    return f"{done} · token {state.step:,} of {state.most:,} · {complete} · {state.expanded:,} distributions"


def _best(state: BestState) -> str:
    found = f"{len(state.answers):,}"
    if state.reason == "proved":
        proof = f"proved: no other answer is likelier than these {found}"
    else:
        gap = "" if state.gap is None or state.gap <= 0 else f" · gap {state.gap:.2f} nats"
        proof = f"{state.proved:,} of {found} proved{gap}"
    why = {
        "": "",
        "proved": "",
        "nodes": " · the budget is used up",
        "no room": " · beginnings were dropped",
        "cancelled": " · cancelled",
    }
    waiting = f" · {state.open:,} open" if state.reason != "proved" else ""
    return f"{proof} · {state.expanded:,} distributions{waiting}{why.get(state.reason, '')}"
