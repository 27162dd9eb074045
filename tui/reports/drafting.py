"""`tokenwalk generate --draft`: the events of speculative decoding, and its sums."""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from core.generation.rounds import Proposal, Round, Timing
from core.language import _
from core.loading.info import ModelInfo
from core.walk.values import DraftView
from tui.drawing.text import label, percent
from tui.reports.generation import prefill_json as generation_prefill
from tui.reports.json_values import token_json


def prefill_json(info: ModelInfo, draft: ModelInfo, ids: Sequence[int], count: int, seconds: float) -> dict[str, Any]:
    """The first line: that of a generation, with the draft model and the number of its proposals."""
    return generation_prefill(info, ids, seconds) | {
        "draft": {"model": draft.name, "device": draft.device, "dtype": draft.dtype},
        "draft_tokens": count,
    }


def round_json(found: Round, seconds: float) -> dict[str, Any]:
    """One round: each proposal with p, q and whether it was accepted (null if not judged), then the tokens."""
    proposals = [
        {
            **token_json(each.id, each.piece),
            "p": None if each.accepted is None else each.p,
            "q": each.q,
            "accepted": each.accepted,
        }
        for each in found.proposals
    ]
    tokens = [
        {
            **token_json(token.id, token.piece),
            "how": how,
            "logprob": token.score.logprob if token.score else None,
            "sampled_probability": token.sampled_probability,
        }
        for token, how in zip(found.tokens, found.how, strict=True)
    ]
    return {"event": "round", "position": found.position, "proposals": proposals, "tokens": tokens, "seconds": seconds}


def done_json(text: str, rounds: Sequence[Round], tokens: int, seconds: float, reason: str) -> dict[str, Any]:
    """The last line: the text, how many proposals were accepted of those that were judged, and what the draft gains.

    The speed-up is the seconds of a step of the target alone, the median of those timed between the rounds, by the
    seconds a token of the rounds after the first; null where one of them was not timed.
    """
    judged, accepted = _counts(rounds)
    timing = _timing(rounds)
    return {
        "event": "done",
        "text": text,
        "tokens": tokens,
        "rounds": len(rounds),
        "judged": judged,
        "accepted": accepted,
        "acceptance_rate": accepted / judged if judged else None,
        "tokens_per_round": tokens / len(rounds) if rounds else None,
        "tokens_per_second": tokens / seconds if seconds > 0 and tokens else None,
        "round_seconds_per_token": timing.round_seconds,
        "target_step_seconds": timing.step_seconds,
        "speedup_over_target_steps": timing.speedup,
        "reason": reason,
    }


def draft_lines(view: DraftView, at: int = 0) -> Iterator[str]:
    """The sums of a generation, its newest rounds first, and the proposals of round `at` of that order."""
    rounds = view.rounds[::-1]
    yield _summary(view.judged, view.accepted, view.tokens, view.count, view.timing.speedup)
    yield from map(_round_line, rounds)
    if at < len(rounds):
        yield _("round at {position}:").format(position=rounds[at].position)
        yield from map(_proposal_line, rounds[at].proposals)
        yield from _last_line(rounds[at])


def _round_line(found: Round) -> str:
    """How far a round came."""
    tokens = " ".join(label(token.piece) for token in found.tokens)
    return _("at {position}: {accepted} of {proposed} accepted · {tokens}").format(
        position=found.position, accepted=found.accepted, proposed=len(found.proposals), tokens=tokens
    )


def _proposal_line(each: Proposal) -> str:
    state = _("not looked at") if each.accepted is None else _("accepted") if each.accepted else _("rejected")
    p = "" if each.accepted is None else _("p in the model {share}").format(share=percent(each.p, 2))
    q = _("q in the draft {share}").format(share=percent(each.q, 2))
    return " · ".join(filter(None, (label(each.piece), state, p, q)))


def _last_line(found: Round) -> Iterator[str]:
    """The token of a round that no draft has proposed."""
    if found.how[-1] != "accepted":
        words = drawn_from_target() if found.how[-1] == "bonus" else drawn_from_rest()
        yield f"{label(found.tokens[-1].piece)} · {words}"


def drawn_from_target() -> str:
    """How a token came after a round without a rejection."""
    return _("drawn from p: every proposal was accepted")


def drawn_from_rest() -> str:
    """How a token came in the place of a rejected one."""
    return _("drawn from max(0, p − q), renormalized")


def summary(rounds: Sequence[Round]) -> str:
    """How many proposals were accepted, in a line."""
    judged, accepted = _counts(rounds)
    tokens = sum(len(each.tokens) for each in rounds)
    return _summary(judged, accepted, tokens, len(rounds), _timing(rounds).speedup)


def _summary(judged: int, accepted: int, tokens: int, count: int, speedup: float | None) -> str:
    share = f" ({100 * accepted / judged:.0f}%)" if judged else ""
    gain = _("; {speedup:.2f}× as fast as steps of the model alone").format(speedup=speedup) if speedup else ""
    return _(
        "{accepted:,} of {judged:,} proposals accepted{share}; {tokens:,} tokens in {count:,} rounds{gain}"
    ).format(accepted=accepted, judged=judged, share=share, tokens=tokens, count=count, gain=gain)


def _timing(rounds: Sequence[Round]) -> Timing:
    return reduce(Timing.with_round, rounds, Timing())


def _counts(rounds: Sequence[Round]) -> tuple[int, int]:
    return sum(each.judged for each in rounds), sum(each.accepted for each in rounds)
