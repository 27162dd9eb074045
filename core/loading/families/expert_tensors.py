"""Names of the tensors of experts, and the tensors of single experts in files that stack all of a block in one."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families.family import KeyMap

MOST_EXPERTS = 4096
"""More experts than a block of any model has."""
GGUF_ROUTER = "blk.#.ffn_gate_inp"
GGUF_PARTS = ("blk.#.ffn_gate_exps.{}", "blk.#.ffn_up_exps.{}", "blk.#.ffn_down_exps.{}")
GGUF_OLD_PARTS = ("blk.#.ffn_gate.{}", "blk.#.ffn_up.{}", "blk.#.ffn_down.{}")
"""Of files from before the experts were stacked."""


def expert_names(count: int, router: str, gate: str, up: str, down: str) -> KeyMap:
    """The modules of the files for a router and `count` experts; `{}` is the number of the expert."""
    names: dict[str, tuple[str, ...]] = {"blocks.#.feed_forward.router": (router,)}
    for number in range(count):
        names[f"blocks.#.feed_forward.experts.{number}.up"] = (gate.format(number), up.format(number))
        names[f"blocks.#.feed_forward.experts.{number}.down"] = (down.format(number),)
    return names


def each_expert(values: CheckedValues, tensors: Mapping[str, StoredTensor]) -> Mapping[str, StoredTensor]:
    """GGUF tensors, each stack of experts `name_exps.weight` [E, …] divided into `name_exps.0.weight` […] and so on.

    `values` is for error texts.
    """
    single: dict[str, StoredTensor] = {}
    for name, stored in tensors.items():
        if not (found := re.fullmatch(r"(.+_exps)\.(weight|bias)", name)):
            single[name] = stored
            continue
        count, *shape = stored.shape
        if count > MOST_EXPERTS or not shape:
            raise values.error(f"{name} has {count} experts (allowed: up to {MOST_EXPERTS})")
        size = stored.size // count if math.prod(stored.shape) else 0
        for number in range(count):
            start = stored.start + number * size
            single[f"{found[1]}.{number}.{found[2]}"] = replace(stored, shape=tuple(shape), start=start, size=size)
    return single
