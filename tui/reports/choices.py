"""`tokenwalk models` and `tokenwalk devices`: what can be chosen, and why something cannot."""

from collections.abc import Sequence
from typing import Any

from core.engine.info import DeviceInfo
from core.language import _
from core.loading.listing import Offer
from tui.drawing.origins import origin_text
from tui.drawing.text import one_line


def device_json(info: DeviceInfo) -> dict[str, Any]:
    """A device; `memory_bytes` is None where it is unknown, `problem` None where the device can be used."""
    return {
        "name": info.name,
        "label": info.label,
        "memory_bytes": info.memory_bytes,
        "problem": info.problem,
    }


def device_lines(devices: Sequence[DeviceInfo]) -> list[str]:
    """One line per device."""
    lines = []
    for info in devices:
        memory = f"{info.memory_bytes / 2**30:.1f} GiB" if info.memory_bytes else "–"
        problem = _(" · not available: {problem}").format(problem=info.problem) if info.problem else ""
        lines.append(f"{info.name:<8} {memory:>10}  {info.label}{problem}")
    return lines


def model_json(offer: Offer) -> dict[str, Any]:
    """A model; `size_bytes` is None for random weights, `problem` None where the model can be used."""
    return {
        "name": offer.name,
        "family": offer.family,
        "words": offer.description,
        "size_bytes": offer.size_bytes,
        "problem": offer.problem,
    }


def model_lines(offers: Sequence[Offer]) -> list[str]:
    """One line per model."""
    width = max(len(one_line(offer.name)) for offer in offers)
    return [f"{one_line(offer.name):<{width}}  {model_description(offer)}" for offer in offers]


def model_description(offer: Offer) -> str:
    """What a list of models says beside a model's name: family, size of the weights, location, problem."""
    if offer.size_bytes is None:
        return offer.description
    size = f"{offer.size_bytes / 1e6:,.0f} MB" if offer.size_bytes >= 1e6 else f"{offer.size_bytes / 1e3:,.0f} kB"
    description = one_line(f"{offer.family} · {size} · {origin_text(offer.description)}")
    return (
        description + _(" · not available: {problem}").format(problem=one_line(offer.problem))
        if offer.problem
        else description
    )
