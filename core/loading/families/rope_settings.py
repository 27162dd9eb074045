"""Reads the rotary positions of a model from config.json or GGUF metadata: the scalings, and the context they allow."""

import struct
from collections.abc import Mapping

from core.engine import rope
from core.engine.rope import Rope
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _

KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
"""The values of `rope_type`; `su` is an older name of `longrope`."""


# config.json ---------------------------------------------------------------------------------------------------------


def read_rope(
    values: CheckedValues,
    head_dim: int,
    context: int,
    *,
    base: float = 10_000.0,
    share: float = 1.0,
    partial: bool = False,
) -> Rope:
    """The rotation that a config.json describes, with frequencies and attention factors as transformers computes them.

    `context` is its `max_position_embeddings`; `base` and `share` (of a head's components) are the family's defaults.
    Without `partial` the unscaled rotation is of whole heads whatever share the file names, as in transformers' Llama.
    """
    base, share = values.get("rope_theta", base), values.get("partial_rotary_factor", share)
    return _rope(values, _settings(values), head_dim, context, base=base, share=share, partial=partial)


def read_layer_rope(values: CheckedValues, layer: str, head_dim: int, context: int, base: float) -> Rope:
    """The rotation of the layers of one kind, where `rope_parameters` tells kinds apart.

    `rope_scaling`, the older key, is of the layers with full attention.
    """
    settings = values.optional_object("rope_parameters").optional_object(layer)
    base = settings.get("rope_theta", base)
    scaling = values.optional_object("rope_scaling")
    if layer == "full_attention" and scaling.values:
        settings = scaling
    settings.require("truncate", True)
    return _rope(values, settings, head_dim, context, base=base, share=1.0, partial=False)


def _rope(
    values: CheckedValues,
    settings: CheckedValues,
    head_dim: int,
    context: int,
    *,
    base: float,
    share: float,
    partial: bool,
) -> Rope:
    """The rotation of some layers by their `settings`, which go before `base` and `share`."""
    if head_dim < 2 or head_dim % 2:
        raise values.error(
            _("head_dim is {head_dim}, but rotary positions rotate pairs (allowed: an even number)").format(
                head_dim=head_dim
            )
        )
    base, share = settings.get("rope_theta", base), settings.get("partial_rotary_factor", share)
    kind = _kind(settings)
    if kind not in KINDS:
        raise settings.error(
            _("rope_type is {kind!r}, which is not supported (supported: {choices})").format(
                kind=kind, choices=", ".join(KINDS)
            )
        )
    if not 0 < share <= 1 or int(share * head_dim) < 2:
        raise settings.error(
            _("partial_rotary_factor is {share!r} (allowed: above 0, at most 1, at least 2 components)").format(
                share=share
            )
        )
    if kind == "proportional":
        return _built(settings, base=base, divisors=rope.proportional(head_dim, share, settings.get("factor", 1.0)))
    size = int(share * head_dim) if partial or kind != "default" else head_dim
    inner = settings.get("original_max_position_embeddings", 0)
    trained = values.get("original_max_position_embeddings", 0) or inner
    common = {"base": base, "size": None if size == head_dim else size}
    match kind:
        case "linear":
            return _built(settings, **common, divisors=(_positive(settings, "factor"),) * (size // 2))
        case "dynamic":
            return _built(settings, **common, growth=_positive(settings, "factor"), trained=context)
        case "llama3":
            return _built(settings, **common, divisors=_llama3(settings, base, size, trained or context))
        case "yarn":
            return _built(settings, **common, **_yarn(settings, base, size, trained or context, context))
        case "longrope":
            return _built(settings, **common, **_longrope(settings, size, trained or context, context))
    return _built(settings, **common)


def read_context(values: CheckedValues, default: int) -> tuple[int, int]:
    """`max_position_embeddings`, which is `default` where it is missing, and T, the context that the rotation allows.

    Dynamic NTK with a factor s is for texts s times as long; YaRN for s times the context of the training.
    """
    trained = values.integer("max_position_embeddings", low=1, default=default)
    settings = _settings(values)
    factor = settings.get("factor", 1.0)
    match _kind(settings):
        case "dynamic":
            return trained, max(trained, int(factor * trained))
        case "yarn":
            return trained, max(trained, int(factor * settings.get("original_max_position_embeddings", 0)))
    return trained, trained


def _settings(values: CheckedValues) -> CheckedValues:
    """The object with the settings of all layers."""
    scaling = values.optional_object("rope_scaling")
    return scaling if scaling.values else values.optional_object("rope_parameters")


def _kind(settings: CheckedValues) -> str:
    kind = settings.get("rope_type", "") or settings.get("type", "default")
    return "longrope" if kind == "su" else kind


def _positive(settings: CheckedValues, key: str) -> float:
    """A positive number, which must be there."""
    return settings.number(key, 1e-9, 1e9)


def _llama3(settings: CheckedValues, base: float, size: int, trained: int) -> tuple[float, ...]:
    low, high = settings.get("low_freq_factor", 1.0), settings.get("high_freq_factor", 4.0)
    if not 0 < low < high:
        raise settings.error(
            _("low_freq_factor is {low!r} and high_freq_factor {high!r} (allowed: 0 < low < high)").format(
                low=low, high=high
            )
        )
    return rope.llama3(base, size, _positive(settings, "factor"), low, high, trained)


def _yarn(settings: CheckedValues, base: float, size: int, trained: int, context: int) -> dict[str, object]:
    """Divisors and attention factor."""
    factor = settings.get("factor", 0.0) or context / trained
    fast, slow = settings.get("beta_fast", 0.0) or 32.0, settings.get("beta_slow", 0.0) or 1.0
    weight, weight_all = settings.get("mscale", 0.0), settings.get("mscale_all_dim", 0.0)
    scale = settings.get("attention_factor", 0.0) or (
        rope.yarn_scale(factor, weight) / rope.yarn_scale(factor, weight_all)
        if weight and weight_all
        else rope.yarn_scale(factor)
    )
    whole = settings.get("truncate", True)
    return {"divisors": rope.yarn(base, size, factor, trained, fast=fast, slow=slow, whole=whole), "scale": scale}


def _longrope(settings: CheckedValues, size: int, trained: int, context: int) -> dict[str, object]:
    """Both lists of divisors, the length that tells them apart, and the attention factor."""
    factor = settings.get("factor", 0.0) or context / trained
    return {
        "divisors": _numbers(settings, "short_factor", size // 2),
        "long_divisors": _numbers(settings, "long_factor", size // 2),
        "trained": trained,
        "scale": settings.get("attention_factor", 0.0) or rope.longrope_scale(factor, trained),
    }


def _numbers(settings: CheckedValues, key: str, count: int) -> tuple[float, ...]:
    """A list of `count` numbers."""
    numbers = settings.items(key)
    if len(numbers) != count or not all(type(each) in (int, float) for each in numbers):
        raise settings.error(
            _("{key} is a list of {count} values (allowed: {wanted} numbers)").format(
                key=key, count=len(numbers), wanted=count
            )
        )
    return tuple(map(float, numbers))


def _built(settings: CheckedValues, **fields: object) -> Rope:
    try:
        return Rope(**fields)  # type: ignore[arg-type]
    except UserError as error:
        raise settings.error(str(error)) from error


# GGUF ----------------------------------------------------------------------------------------------------------------


def read_gguf_rope(
    values: CheckedValues, tensors: Mapping[str, StoredTensor], head_dim: int, base: float = 10_000.0
) -> Rope:
    """The rotation that GGUF metadata and tensors describe, as llama.cpp computes it.

    `base` is that of a file without one. Divisors of single pairs are tensors, and multiply the factor of the metadata.
    LongRoPE's long factors count beyond the trained context, as in transformers; llama.cpp chooses for all texts
    by the size of its own context.
    """
    size = values.get("rope.dimension_count", head_dim) or head_dim
    if not 2 <= size <= head_dim:
        raise values.error(
            _("rope.dimension_count is {size} (allowed: 2 to {head_dim}, the size of a head)").format(
                size=size, head_dim=head_dim
            )
        )
    base = values.get("rope.freq_base", base)
    kind = values.get("rope.scaling.type", "linear")
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise values.error(
            _("rope.scaling.type is {kind!r}, which is not supported (supported: none, linear, yarn, longrope)").format(
                kind=kind
            )
        )
    factor = values.get("rope.scaling.factor", values.get("rope.scale_linear", 0.0)) or 1.0
    trained = values.get("rope.scaling.original_context_length", 0) or values.count("context_length")
    scale = values.get("rope.scaling.attn_factor", 1.0)
    divisors = (1.0 if kind == "none" else factor,) * (size // 2)
    if kind == "yarn":
        values.require("rope.scaling.yarn_ext_factor", 1.0)
        fast = values.get("rope.scaling.yarn_beta_fast", 32.0)
        slow = values.get("rope.scaling.yarn_beta_slow", 1.0)
        divisors = rope.yarn(base, size, factor, trained, fast=fast, slow=slow)
        weight = values.get("rope.scaling.yarn_log_multiplier", 0.0)
        scale *= rope.yarn_scale(factor) / (rope.yarn_scale(factor, weight) if weight else 1.0)
    short = _tensor(values, tensors, "rope_freqs.weight", size // 2)
    short = short or _tensor(values, tensors, "rope_factors_short.weight", size // 2)
    long = () if "rope_freqs.weight" in tensors else _tensor(values, tensors, "rope_factors_long.weight", size // 2)
    if bool(long) != ("rope_factors_short.weight" in tensors) or (kind == "longrope" and not long):
        raise values.error(_("rope_factors_long.weight or rope_factors_short.weight is missing"))
    return _built(
        values,
        base=base,
        size=None if size == head_dim else size,
        divisors=_products(divisors, short),
        long_divisors=_products(divisors, long) if long else (),
        trained=trained if long else 0,
        scale=scale,
    )


def _products(divisors: tuple[float, ...], others: tuple[float, ...]) -> tuple[float, ...]:
    """The products of two lists, of which the second may be empty; empty where all are 1."""
    products = tuple(a * b for a, b in zip(divisors, others or (1.0,) * len(divisors), strict=True))
    return products if any(each != 1 for each in products) else ()


def _tensor(values: CheckedValues, tensors: Mapping[str, StoredTensor], name: str, count: int) -> tuple[float, ...]:
    """The numbers of a small tensor; none where there is no such tensor."""
    stored = tensors.get(name)
    if stored is None:
        return ()
    if (stored.dtype, stored.shape) != ("F32", (count,)):
        raise values.error(
            _("{name} is {dtype} {shape} (allowed: F32 [{count}])").format(
                name=name, dtype=stored.dtype, shape=list(stored.shape), count=count
            )
        )
    return struct.unpack_from(f"<{count}f", stored.view, stored.start)
