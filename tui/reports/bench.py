"""`tokenwalk bench`: how fast a model runs on this machine."""

from typing import TYPE_CHECKING, Any

from core.language import _
from tui.drawing.text import one_line

if TYPE_CHECKING:
    from core.evaluation.bench import BenchResult


def bench_json(result: "BenchResult") -> dict[str, Any]:
    """The measurements; times in seconds, sizes in bytes."""
    return {
        "model": result.model,
        "device": result.device,
        "dtype": result.dtype,
        "format": result.format or result.dtype,
        "threads": result.threads,
        "implementation": result.implementation,
        "prompt_tokens": result.prompt_tokens,
        "first_token_seconds": result.first_token_seconds,
        "prompt_tokens_per_second": result.prompt_tokens_per_second,
        "tokens_per_second": result.tokens_per_second,
        "weights_bytes": result.weights_bytes,
        "bytes_per_token": result.bytes_per_token,
        "bandwidth_bytes_per_second": result.bandwidth_bytes_per_second,
        "bandwidth_share": result.bandwidth_share,
        "peak_bytes": result.peak_bytes,
        "problems": result.problems,
    }


def bench_lines(result: "BenchResult") -> list[str]:
    """The measurements, one line each."""
    peak = _(", peak memory {size:,.0f} MB").format(size=result.peak_bytes / 1e6) if result.peak_bytes else ""
    threads = _(", {threads} threads").format(threads=result.threads) if result.device == "cpu" else ""
    prompt = _("a prompt of {count:,} tokens ({speed:,.0f} a second)").format(
        count=result.prompt_tokens, speed=result.prompt_tokens_per_second
    )
    bandwidth = f"{result.bandwidth_bytes_per_second / 1e9:.1f} GB/s"
    return [
        _("{model} on {device} in {format}{threads}").format(
            model=one_line(result.model),
            device=result.device,
            format=one_line(result.format or result.dtype),
            threads=threads,
        ),
        _("  {speed:>9,.1f} tokens a second by {implementation}").format(
            speed=result.tokens_per_second, implementation=one_line(result.implementation)
        ),
        _("  {time:>9,.1f} ms to the first token after {prompt}").format(
            time=1000 * result.first_token_seconds, prompt=prompt
        ),
        _("  {share:>9.0%} of the memory bandwidth, which is {bandwidth} here").format(
            share=result.bandwidth_share, bandwidth=bandwidth
        ),
        _("  {size:>9,.1f} MB of weights{peak}").format(size=result.weights_bytes / 1e6, peak=peak),
        *(f"  {one_line(problem)}" for problem in result.problems),
    ]
