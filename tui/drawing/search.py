"""What a search has found and proved, in one line."""

from core.language import _
from core.search.values import BeamState, BestState, State


def outcome(state: State) -> str:
    """How far a search is, or why it ended and what is proved."""
    return _beam(state) if isinstance(state, BeamState) else _best(state)


def _beam(state: BeamState) -> str:
    done = {"": _("running"), "cancelled": _("cancelled")}.get(state.reason, _("complete"))
    complete = _("{count:,} complete").format(count=len(state.finished))
    return _("{done} · token {step:,} of {most:,} · {complete} · {expanded:,} distributions").format(
        done=done, step=state.step, most=state.most, complete=complete, expanded=state.expanded
    )


def _best(state: BestState) -> str:
    found = f"{len(state.answers):,}"
    if state.reason == "proved":
        proof = _("proved: no other answer is likelier than these {found}").format(found=found)
    else:
        gap = "" if state.gap is None or state.gap <= 0 else _(" · gap {gap:.2f} nats").format(gap=state.gap)
        proof = _("{proved:,} of {found} proved{gap}").format(proved=state.proved, found=found, gap=gap)
    why = {
        "": "",
        "proved": "",
        "nodes": _(" · all allowed nodes are used"),
        "no room": _(" · some beginnings were dropped: no room"),
        "cancelled": _(" · cancelled"),
    }
    waiting = _(" · {count:,} beginnings open").format(count=state.open) if state.reason != "proved" else ""
    return f"{proof} · {_('{count:,} distributions').format(count=state.expanded)}{waiting}{why.get(state.reason, '')}"
