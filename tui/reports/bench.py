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
        "threads": result.threads,
        "prompt_tokens": result.prompt_tokens,
        "first_token_seconds": result.first_token,
        "prompt_tokens_per_second": result.prompt_rate,
        "tokens_per_second": result.rate,
        "weights_bytes": result.weights,
        "bytes_per_token": result.read,
        "bandwidth_bytes_per_second": result.bandwidth,
        "bandwidth_share": result.share,
        "peak_bytes": result.peak,
    }


def bench_lines(result: "BenchResult") -> list[str]:
    """The measurements, one line each."""
    peak = f", peak memory {result.peak / 1e6:,.0f} MB" if result.peak else ""
    threads = f", {result.threads} threads" if result.device == "cpu" else ""
    compiled = ", single tokens by compiled kernels" if result.compiled else ""
    return [
        f"{one_line(result.model)} on {result.device} in {result.dtype}{threads}{compiled}",
        f"  {result.rate:>9,.1f} tokens a second",
        f"  {1000 * result.first_token:>9,.1f} ms to the first token after a prompt of {result.prompt_tokens:,} tokens "
        f"({result.prompt_rate:,.0f} a second)",
        f"  {result.share:>9.0%} of the memory bandwidth, which is {result.bandwidth / 1e9:.1f} GB/s here",
        f"  {result.weights / 1e6:>9,.1f} MB of weights{peak}",
    ]
