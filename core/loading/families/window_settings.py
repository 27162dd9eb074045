"""Reads which blocks of a model attend to a sliding window of positions, from config.json or GGUF metadata."""

import reprlib
from collections.abc import Callable

from core.formats.checked import CheckedValues
from core.language import _

KINDS = {"full_attention": False, "sliding_attention": True}
"""The values in `layer_types`, and whether a layer of that kind has a window."""

MOST_LAYERS = 10_000
"""More layers than any model has."""


def window_size(values: CheckedValues, default: int) -> int:
    """`sliding_window` in positions, `default` where config.json has no such key; 0 is no window, as is null."""
    return values.get("sliding_window", 0) if "sliding_window" in values.values else default


def read_kinds(values: CheckedValues, blocks: int, slides: Callable[[int], bool]) -> tuple[bool, ...]:
    """Whether each block has a window: by `layer_types` where config.json has it, else by `slides` of its number."""
    if blocks > MOST_LAYERS:
        raise values.error(
            _("it has {blocks} layers with attention windows (allowed: up to {limit})").format(
                blocks=blocks, limit=MOST_LAYERS
            )
        )
    if values.values.get("layer_types") is None:
        return tuple(slides(block) for block in range(blocks))
    kinds = values.items("layer_types")
    if len(kinds) != blocks:
        raise values.error(
            _("layer_types has {count} kinds for {blocks} layers").format(count=len(kinds), blocks=blocks)
        )
    for kind in kinds:
        if not isinstance(kind, str) or kind not in KINDS:
            raise values.error(
                _("layer_types has {unknown}, which is not supported (supported: {choices})").format(
                    unknown=reprlib.repr(kind), choices=", ".join(KINDS)
                )
            )
    return tuple(KINDS[kind] for kind in kinds)


def windows(values: CheckedValues, size: int, kinds: tuple[bool, ...]) -> tuple[int, ...]:
    """The window of each block, 0 for none; empty where none has one. Raises `UserError` for a window of no size."""
    if not any(kinds):
        return ()
    if size < 1:
        raise values.error(
            _("layers have sliding attention, but sliding_window is {size}").format(size=size or "not set")
        )
    return tuple(size if slides else 0 for slides in kinds)


def read_gguf_kinds(values: CheckedValues, blocks: int, period: int) -> tuple[bool, ...]:
    """Whether each block has a window: by a list, or all but the last of every `period` blocks; 0 is all blocks."""
    if blocks > MOST_LAYERS:
        raise values.error(
            _("it has {blocks} layers with attention windows (allowed: up to {limit})").format(
                blocks=blocks, limit=MOST_LAYERS
            )
        )
    key = "attention.sliding_window_pattern"
    if not isinstance(values.values.get(key), list):
        period = values.get(key, period)
        return tuple(not period or block % period < period - 1 for block in range(blocks))
    kinds = values.items(key)
    if len(kinds) < blocks:
        raise values.error(
            _("{key} has {count} kinds for {blocks} layers").format(key=key, count=len(kinds), blocks=blocks)
        )
    return tuple(bool(kind) for kind in kinds[:blocks])


def read_gguf_windows(values: CheckedValues, blocks: int, period: int = 0) -> tuple[int, ...]:
    """The window of each block; empty where the metadata has none."""
    size = values.get("attention.sliding_window", 0)
    return windows(values, size, read_gguf_kinds(values, blocks, period)) if size else ()
