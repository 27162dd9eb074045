"""`tokenwalk bench`: how fast a model runs on this machine."""

from typing import TYPE_CHECKING, Any

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
    peak = f", peak memory {result.peak_bytes / 1e6:,.0f} MB" if result.peak_bytes else ""
    threads = f", {result.threads} threads" if result.device == "cpu" else ""
    prompt = f"a prompt of {result.prompt_tokens:,} tokens ({result.prompt_tokens_per_second:,.0f} a second)"
    bandwidth = f"{result.bandwidth_bytes_per_second / 1e9:.1f} GB/s"
    return [
        f"{one_line(result.model)} on {result.device} in {one_line(result.format or result.dtype)}{threads}",
        f"  {result.tokens_per_second:>9,.1f} tokens a second by {one_line(result.implementation)}",
        f"  {1000 * result.first_token_seconds:>9,.1f} ms to the first token after {prompt}",
        f"  {result.bandwidth_share:>9.0%} of the memory bandwidth, which is {bandwidth} here",
        f"  {result.weights_bytes / 1e6:>9,.1f} MB of weights{peak}",
        *(f"  {one_line(problem)}" for problem in result.problems),
    ]
