"""Everything that is known about a loaded model, as rows of words: for the app, `tokenwalk models NAME` and JSON."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from core.engine.config import ModelConfig
from core.engine.rope import Rope
from core.language import N_, _, ngettext
from tui.drawing.origins import origin_text
from tui.drawing.text import one_line
from tui.reports.engine import engine_rows

if TYPE_CHECKING:
    from core.loading.details import AdapterDetails, ModelDetails, SpecialToken, TokenizerDetails

Row = tuple[str, str]
"""A name and what it is; a row without a name goes on with the one before."""
SPECIAL_SHOWN = 12
"""Special tokens without a use that are told."""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows about one subject."""

    title: str
    rows: tuple[Row, ...]


def sections(found: "ModelDetails") -> list[Section]:
    """All there is to say, in the language in use and without control characters."""
    groups = [
        (_("model"), _model(found)),
        (_("served by"), engine_rows(found.engine) if found.engine else ()),
        (_("architecture"), _architecture(found.config) if found.config else ()),
        (_("numbers"), _numbers(found) if found.formats else ()),
        (_("tokenizer"), _tokenizer(found.tokenizer)),
        (_("adapter"), _adapter(found.adapter) if found.adapter else ()),
        (_("runs on"), _runs_on(found)),
    ]
    made = [Section(title, tuple((name, one_line(text)) for name, text in rows)) for title, rows in groups]
    return [each for each in made if each.rows]


def model_details_lines(found: "ModelDetails") -> Iterator[str]:
    """One line a row, under a line for each section."""
    yield from section_lines(sections(found))


def section_lines(groups: Sequence[Section]) -> Iterator[str]:
    """The lines of some sections."""
    width = max((len(name) for group in groups for name, _text in group.rows), default=0)
    for group in groups:
        yield group.title
        yield from (f"  {name:<{width}}  {text}".rstrip() for name, text in group.rows)


def megabytes(count: int) -> str:
    """Bytes for people."""
    if count >= 10**9:
        return f"{count / 1e9:,.2f} GB"
    return f"{count / 1e6:,.1f} MB" if count >= 10**5 else f"{count / 1e3:,.1f} kB"


def _model(found: "ModelDetails") -> Iterator[Row]:
    info = found.info
    yield _("name"), info.name
    if not found.engine:
        yield _("family"), _(info.title)
        yield _("weights"), origin_text(info.weights)
        yield _("parameters"), f"{info.parameters:,}"


def _architecture(config: ModelConfig) -> Iterator[Row]:
    yield _("layers"), f"{config.blocks:,}"
    if config.blocks:
        heads = ngettext("{count} head of {size}", "{count} heads of {size}", config.heads)
        shared = (
            _(", {count} key and value heads").format(count=config.kv_heads) if config.kv_heads != config.heads else ""
        )
        yield _("attention"), heads.format(count=config.heads, size=config.head_dim) + shared
        if extras := list(_attention_extras(config)):
            yield "", ", ".join(extras)
    yield _("width d"), f"{config.embed_dim:,}"
    if config.feed_forward:
        yield _("MLP"), _mlp(config)
    yield _("vocabulary V"), f"{config.vocab_size:,}"
    yield _("context T"), _("{count:,} tokens").format(count=config.context)
    yield _("positions"), _positions(config)
    if config.blocks and any(config.windows):
        yield _("windows"), _windows(config)
    if blocks := list(_blocks(config)):
        yield _("blocks"), ", ".join(blocks)
    yield _("unembedding"), ", ".join(_head(config))


def _attention_extras(config: ModelConfig) -> Iterator[str]:
    if config.qk_norm != "none":
        yield _("queries and keys normalized")
    if config.attention_scale is not None:
        yield _("scores × {scale:.4g}").format(scale=config.attention_scale)
    if config.attention_cap:
        yield _("scores within ±{cap:g}").format(cap=config.attention_cap)
    if config.sinks:
        yield _("a sink for each head")


def _mlp(config: ModelConfig) -> str:
    shape = _("m = {size:,}, {activation}") + (_(", gated") if config.gated else "")
    plain = shape.format(size=config.mlp_dim, activation=config.activation)
    if config.experts is None:
        return plain
    experts = config.experts
    count = sum(config.has_experts(n) for n in range(config.blocks))
    text = _("{experts} experts, {used} for each token, {shape}").format(
        experts=experts.count, used=experts.used, shape=shape.format(size=experts.size, activation=config.activation)
    )
    if experts.shared_size:
        text += _("; one more for every token, m = {size:,}").format(size=experts.shared_size)
    if count < config.blocks:
        text += _("; in {count} of {blocks} layers, else {plain}").format(
            count=count, blocks=config.blocks, plain=plain
        )
    return text


POSITIONS = {"learned": N_("learned, one for each place"), "alibi": N_("ALiBi"), "none": N_("none")}


def _positions(config: ModelConfig) -> str:
    ropes = list(dict.fromkeys(config.ropes))
    if config.positions != "rotary" and not any(ropes):
        return _(POSITIONS.get(config.positions, config.positions))
    texts = []
    for rope in ropes or [config.rope]:
        count = config.ropes.count(rope)
        where = _(" in {count} of {blocks} layers").format(count=count, blocks=config.blocks)
        texts.append((rope_text(rope, config.head_dim) if rope else _("none")) + (where if len(ropes) > 1 else ""))
    return "; ".join(texts)


def rope_text(rope: Rope, head_dim: int) -> str:
    """How queries and keys are rotated, and how that is scaled for long texts."""
    parts = [_("rotary, base {base:,.10g}").format(base=rope.base)]
    if rope.size not in (None, head_dim):
        parts.append(_("{size} of {head_dim} components").format(size=rope.size, head_dim=head_dim))
    finite = [each for each in rope.divisors if math.isfinite(each)]
    if finite and max(finite) > 1:
        low, high = min(finite), max(finite)
        text = _("frequencies ÷ {low:.4g} to {high:.4g}") if low != high else _("frequencies ÷ {high:.4g}")
        parts.append(text.format(low=low, high=high))
    if rope.growth:
        parts.append(_("base grows beyond {count:,} tokens (dynamic NTK)").format(count=rope.trained))
    elif rope.trained:
        parts.append(_("other frequencies beyond {count:,} tokens (LongRoPE)").format(count=rope.trained))
    if rope.scale != 1:
        parts.append(_("attention factor {scale:.4g}").format(scale=rope.scale))
    return ", ".join(parts)


def _windows(config: ModelConfig) -> str:
    texts = []
    for size in sorted({each for each in config.windows if each}):
        count = config.windows.count(size)
        texts.append(
            _("{size:,} tokens in {count} of {blocks} layers").format(size=size, count=count, blocks=config.blocks)
        )
    return "; ".join(texts)


LAYOUTS = {
    "sequential": N_("attention, then MLP"),
    "parallel": N_("attention and MLP in parallel"),
    "parallel_one_norm": N_("attention and MLP in parallel, one norm for both"),
    "post_norm": N_("attention, then MLP, a norm after each"),
}
NORMS = {"rms": "RMSNorm", "layer": "layer norm", "none": N_("no norm")}


def _blocks(config: ModelConfig) -> Iterator[str]:
    if config.blocks:
        yield _(LAYOUTS[config.layout]) if config.feed_forward else _("attention alone")
        yield _(NORMS[config.norm])
    if config.output_norms:
        yield _("what they add is normalized")
    if config.residual_scale != 1:
        yield _("what they add × {scale:.4g}").format(scale=config.residual_scale)
    if config.embed_scale != 1:
        yield _("embedding × {scale:.4g}").format(scale=config.embed_scale)


def _head(config: ModelConfig) -> Iterator[str]:
    yield _("tied to the embedding") if config.tied else _("a matrix of its own")
    if config.divisor != 1:
        yield _("logits ÷ {divisor:.4g}").format(divisor=config.divisor)
    if config.logit_cap:
        yield _("logits within ±{cap:g}").format(cap=config.logit_cap)


def _numbers(found: "ModelDetails") -> Iterator[Row]:
    for each in found.formats:
        tensors = ngettext("{count:,} tensor", "{count:,} tensors", each.tensors).format(count=each.tensors)
        text = _("{tensors}, {parameters:,} parameters, {size}")
        yield each.name, text.format(tensors=tensors, parameters=each.parameters, size=megabytes(each.size_bytes))
    mapped = found.mapped_bytes
    whole = megabytes(found.weights_bytes)
    if mapped:
        whole += _(", of which {size} are mapped from the file").format(size=megabytes(mapped))
    yield _("in all"), whole
    for number, (path, size) in enumerate(found.files):
        name = ngettext("file", "files", len(found.files)) if not number else ""
        yield name, f"{path} ({megabytes(size)})"


USES = {"begin": N_("begins each text"), "end": N_("ends each text"), "stop": N_("stops the model")}


def _tokenizer(found: "TokenizerDetails") -> Iterator[Row]:
    yield _("name"), found.name
    if found.kind:
        yield _("kind"), found.kind
    yield _("size"), _("{count:,} tokens").format(count=found.vocab_size)
    yield _("chat template"), _("yes") if found.template else _("no")
    for number, line in enumerate(_special(found)):
        yield "" if number else _("special"), line
    if found.warning:
        yield _("warning"), found.warning


def _special(found: "TokenizerDetails") -> Iterator[str]:
    """A line for each special token with a use, then the others in one."""
    for each in (each for each in found.special if each.uses):
        yield f"{_named(each)} {', '.join(_(USES[use]) for use in each.uses)}"
    others = [_named(each) for each in found.special if not each.uses][:SPECIAL_SHOWN]
    left = found.special_count - sum(bool(each.uses) for each in found.special) - len(others)
    if others:
        yield " ".join(others) + (_(" … and {count:,} more").format(count=left) if left > 0 else "")


def _named(token: "SpecialToken") -> str:
    return f"{token.text} {token.id}"


def _adapter(found: "AdapterDetails") -> Iterator[Row]:
    yield _("from"), found.source
    yield _("scale"), f"{found.scale:g}"
    yield (
        _("changes"),
        _("{modules:,} modules by {parameters:,} numbers").format(modules=found.modules, parameters=found.parameters),
    )


def _runs_on(found: "ModelDetails") -> Iterator[Row]:
    if found.engine:
        return
    yield _("device"), found.info.device
    yield _("format"), found.info.format
    yield _("computed by"), found.implementation
    if found.info.device == "cpu":
        threads = _("{count} of torch").format(count=found.threads)
        if found.product_threads:
            threads += _(", {count} of compiled products").format(count=found.product_threads)
        yield _("threads"), threads
    if found.process_bytes:
        yield _("memory"), _("{size} of this process, beside mapped files").format(size=megabytes(found.process_bytes))
    for number, problem in enumerate(found.problems):
        yield "" if number else _("problems"), problem


def model_details_json(found: "ModelDetails") -> dict[str, Any]:
    """What `tokenwalk models NAME --json` prints: sizes in bytes, None where something is not known."""
    info, config = found.info, found.config
    return {
        "model": info.name,
        "family": info.title,
        "weights": info.weights,
        "parameters": info.parameters,
        "vocab_size": info.vocab_size,
        "context": info.context,
        "device": info.device,
        "dtype": info.dtype,
        "architecture": _config_json(config) if config else None,
        "formats": [asdict(each) for each in found.formats],
        "weights_bytes": found.weights_bytes,
        "mapped_bytes": found.mapped_bytes,
        "process_bytes": found.process_bytes,
        "files": [{"path": path, "size_bytes": size} for path, size in found.files],
        "tokenizer": asdict(found.tokenizer),
        "adapter": asdict(found.adapter) if found.adapter else None,
        "implementation": found.implementation,
        "slow_path": info.slow_path or None,
        "threads": {"torch": found.threads, "products": found.product_threads},
        "problems": found.problems,
        "engine": found.engine.as_json() if found.engine else None,
    }


def _config_json(config: ModelConfig) -> dict[str, Any]:
    """The sizes, and of every option its value; numbers that JSON lacks become None."""
    names = ("embed_dim", "heads", "kv_heads", "head_dim", "mlp_dim", "blocks", "layout", "norm", "activation", "gated")
    values = {name: getattr(config, name) for name in (*names, "positions", "tied", "windows", "sinks")}
    ropes = [rope and _finite(asdict(rope)) for rope in dict.fromkeys(config.ropes)]
    experts = {"count": config.experts.count, "used": config.experts.used} if config.experts else None
    return values | {"ropes": ropes, "experts": experts}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    lists = {name: [each if math.isfinite(each) else None for each in value] for name, value in values.items()
             if isinstance(value, tuple)}  # fmt: skip
    return values | lists
