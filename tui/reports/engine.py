"""`tokenwalk models URL`: what an engine elsewhere serves and what it tells of the next token."""

from core.remote.values import Capabilities
from tui.drawing.text import one_line

UNKNOWN = "not told"
TEXT_ONLY = "no: text only, so there is no walk; vLLM, llama-server and SGLang have ids"


def engine_lines(url: str, found: Capabilities) -> list[str]:
    """One line for each capability, with what follows from it."""
    rows = [
        ("engine", f"{found.engine} {found.version}".strip()),
        ("model", found.model),
        ("vocabulary", _count(found.vocab_size)),
        ("context", _count(found.context)),
        (
            "token ids",
            "yes" if found.ids else "no: text only, so there is no walk; vLLM, llama-server and SGLang have ids",
        ),
    ]
    rows.append(("log-probabilities", _logprobs(found)))
    if found.ids:
        rows.append(
            ("scores of a prompt", "in one request" if found.prompt_scores else "no: one request for each token")
        )
        rows.append(("tokenizer", _tokenizer(found)))
    width = max(len(name) for name, _ in rows)
    return [one_line(url), *(f"  {name:<{width}}  {one_line(value)}" for name, value in rows)]


def _count(tokens: int | None) -> str:
    return UNKNOWN if tokens is None else f"{tokens:,} tokens"


def _logprobs(found: Capabilities) -> str:
    if found.top_k == 0:
        return "none"
    how_many = f"of the {found.top_k:,} likeliest tokens at most" if found.top_k else "of as many tokens as asked for"
    how_many = "of all tokens, or of as many as asked for" if found.full else how_many
    raw = "raw" if found.raw else "after temperature, which is asked to be 1"
    return f"{how_many}; {raw}"


def _tokenizer(found: Capabilities) -> str:
    if not found.tokenizer:
        return "no: give that of the model's folder with --tokenizer"
    return "with the bytes of tokens" if found.bytes else "with text only: the bytes of tokens are found out from it"
