"""Names of the tensors of experts, and the tensors of single experts in files that stack all of a block in one."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
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


def divided(values: CheckedValues, name: str, stored: StoredTensor) -> Iterator[StoredTensor]:
    """The E parts [...] of a tensor [E, ...], in the same bytes. `values` is for error texts."""
    count, *shape = stored.shape
    if count > MOST_EXPERTS or not shape:
        raise values.error(
            _("{name} has {count} experts (allowed: up to {limit})").format(name=name, count=count, limit=MOST_EXPERTS)
        )
    size = stored.size // count if math.prod(stored.shape) else 0
    for number in range(count):
        yield replace(stored, shape=tuple(shape), start=stored.start + number * size, size=size)


def each_expert(values: CheckedValues, tensors: Mapping[str, StoredTensor]) -> Mapping[str, StoredTensor]:
    """GGUF tensors, each stack of experts `name_exps.weight` [E, …] divided into `name_exps.0.weight` […] and so on.

    `attn_sinks.weight` is called `attn_sinks.sinks`, as the parameter is. `values` is for error texts.
    """
    single: dict[str, StoredTensor] = {}
    for name, stored in tensors.items():
        if found := re.fullmatch(r"(.+_exps)\.(weight|bias)", name):
            single |= {f"{found[1]}.{n}.{found[2]}": each for n, each in enumerate(divided(values, name, stored))}
        else:
            single[re.sub(r"attn_sinks\.weight$", "attn_sinks.sinks", name)] = stored
    return single
