"""`tokenwalk models URL`: what an engine elsewhere serves and what it tells of the next token."""

from core.language import N_, _
from core.remote.values import Capabilities
from tui.drawing.text import one_line

UNKNOWN = N_("not told")
TEXT_ONLY = N_("no: text only, so there is no walk; vLLM, llama-server and SGLang have ids")


def engine_rows(found: Capabilities) -> list[tuple[str, str]]:
    """Name and value of each capability, with what follows from it."""
    rows = [
        (_("engine"), f"{found.engine} {found.version}".strip()),
        (_("model"), found.model),
        (_("vocabulary"), _count(found.vocab_size)),
        (_("context"), _count(found.context)),
        (
            _("token ids"),
            _("yes") if found.ids else _(TEXT_ONLY),
        ),
    ]
    rows.append((_("log-probabilities"), _logprobs(found)))
    if found.ids:
        rows.append(
            (
                _("scores of a prompt"),
                _("in one request") if found.prompt_scores else _("no: one request for each token"),
            )
        )
        rows.append((_("tokenizer"), _tokenizer(found)))
    return rows


def engine_lines(url: str, found: Capabilities) -> list[str]:
    """One line for each capability."""
    rows = engine_rows(found)
    width = max(len(name) for name, _ in rows)
    return [one_line(url), *(f"  {name:<{width}}  {one_line(value)}" for name, value in rows)]


def _count(tokens: int | None) -> str:
    return _(UNKNOWN) if tokens is None else _("{tokens:,} tokens").format(tokens=tokens)


def _logprobs(found: Capabilities) -> str:
    if found.top_k == 0:
        return _("none")
    how_many = (
        _("of the {count:,} likeliest tokens at most").format(count=found.top_k)
        if found.top_k
        else _("of as many tokens as asked for")
    )
    how_many = _("of all tokens, or of as many as asked for") if found.full else how_many
    raw = _("raw") if found.raw else _("after temperature, which is asked to be 1")
    return f"{how_many}; {raw}"


def _tokenizer(found: Capabilities) -> str:
    if not found.tokenizer:
        return _("no: give that of the model's folder with --tokenizer")
    return (
        _("with the bytes of tokens") if found.bytes else _("with text only, from which the bytes of tokens are found")
    )
