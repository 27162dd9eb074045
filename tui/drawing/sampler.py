"""Writes the settings of a sampler, and what its stages keep, as one line of text."""

from itertools import pairwise

from core.sampling.sampler import Sampler
from core.sampling.values import SamplerStage, StageName
from tui.drawing.text import setting


def sampler_text(sampler: Sampler) -> str:
    """The settings in the order of their stages, such as `T 0.70 k 40 p 0.90`; min-p only where it is set."""
    temperature = "greedy" if sampler.greedy else f"T {setting(sampler.temperature, 2)}"
    k = f"k {sampler.top_k}" if sampler.top_k else "k off"
    p = f"p {setting(sampler.top_p, 2)}" if sampler.top_p < 1 else "p off"
    return f"{temperature} {k} {p}" + (f" min-p {setting(sampler.min_p, 2)}" if sampler.min_p > 0 else "")


def stages_line(stages: tuple[SamplerStage, ...], sampler: Sampler, width: int) -> str:
    """Each stage's setting and the probability mass it cuts, in order; a short form where `width` cells are too few."""
    temperature = "greedy" if sampler.greedy else f"T {setting(sampler.temperature, 1)}"
    settings: dict[StageName, str] = {
        "temperature": temperature,
        "top-k": f"k {sampler.top_k or 'off'}",
        "top-p": f"p {setting(sampler.top_p, 2) if sampler.top_p < 1 else 'off'}",
    }
    if sampler.min_p > 0:
        settings["min-p"] = f"min-p {setting(sampler.min_p, 2)}"
    parts = []
    for before, after in pairwise(stages):
        if after.name in settings:
            cuts = after.kept < before.kept and after.name != "temperature"
            cut = f" cuts {100 * (before.mass - after.mass):.1f}%" if cuts else ""
            parts.append(settings[after.name] + cut)
    kept = f"{stages[-1].kept:,} kept"
    text = " → ".join([*parts, kept])
    return text if len(text) + 4 <= width else f"{temperature} → {kept}"
