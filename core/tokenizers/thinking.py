"""Where a model thinks before it answers: the markers that families put around that."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

MARKERS = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen3, SmolLM3, OLMo 3, GLM
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<|channel|>analysis", "<|end|>"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("Here is my thought process:", "Here is my response:"),  # Granite 3
)
"""What begins and what ends a model's thinking, by family."""
_PAIRS = tuple((begin.encode(), end.encode()) for begin, end in MARKERS)
_ENDS = tuple(end for _, end in _PAIRS if end not in (b"<|end|>", b"Here is my response:"))
"""The markers that end nothing but thinking; Phi ends a turn with `<|end|>`."""
_TOKENS = frozenset(part for pair in _PAIRS for part in pair) | {b"<|channel|>", b"<|channel>", b"<|message|>"}


def is_marker(piece: bytes) -> bool:
    """Whether a special token is one of the markers, or a part of one."""
    return piece in _TOKENS


def find(pieces: Sequence[bytes], said: int) -> list[bool]:
    """For each token whether it belongs to thinking, markers included.

    The assistant speaks from token `said` on; a template may have opened the thinking before that. An end without a
    beginning ends what the assistant said so far. Thinking without an end lasts to the last token.
    """
    text, ends = b"".join(pieces), list(accumulate(map(len, pieces)))
    thinks = [False] * len(pieces)
    for start, stop in _intervals(text, ends[said - 1] if said else 0):
        for token in range(bisect_right(ends, start), bisect_right(ends, stop - 1) + 1):
            thinks[token] = True
    return thinks


def _intervals(text: bytes, said: int) -> Iterator[tuple[int, int]]:
    """The bytes of thinking, from and up to; the assistant speaks from byte `said` on."""
    at, (begin, _) = 0, _next(text, 0)
    lost = min(((found, each) for each in _ENDS if said <= (found := text.find(each, said)) < begin), default=None)
    if lost:
        at = lost[0] + len(lost[1])
        yield said, at
    begin, marker = _next(text, at)
    while begin < len(text):
        stop = text.find(marker, begin)
        at = len(text) if stop < 0 else stop + len(marker)
        yield begin, at
        begin, marker = _next(text, at)


def _next(text: bytes, at: int) -> tuple[int, bytes]:
    """Where thinking begins next, or the length of the text, and the marker that ends it."""
    begins = [(found, end) for begin, end in _PAIRS if (found := text.find(begin, at)) >= 0]
    return min(begins, default=(len(text), b""))
