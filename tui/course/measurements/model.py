"""Measurements of the model."""

from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


@measurement
def model(here: Here) -> str:
    """The name of the walk's model."""
    return here.session.info.name


@measurement
def parameters(here: Here, part: str | None = None, *, model: str | None = None) -> int:
    """How many numbers the model has learned, in all or in a part such as `attention`."""
    found = here.model(model)
    if part is None:
        return found.info.parameters
    from core.lenses.weights import count

    counts = {each.part: each.parameters for each in count(found.transformer)}
    if part not in counts:
        names = ", ".join(counts)
        raise UserError(_("{model} has no part {part!r}; choose from {names}").format(
            model=found.info.name, part=part, names=names
        ))  # fmt: skip
    return counts[part]


@measurement
def vocab_size(here: Here, *, model: str | None = None) -> int:
    """V."""
    return here.model(model).info.vocab_size


@measurement
def embed_dim(here: Here, *, model: str | None = None) -> int:
    """d."""
    return here.model(model).transformer.config.embed_dim


@measurement
def context_length(here: Here, *, model: str | None = None) -> int:
    """T, how many tokens it sees at most."""
    return here.model(model).info.context


@measurement
def blocks(here: Here, *, model: str | None = None) -> int:
    """How many blocks are stacked."""
    return here.model(model).transformer.config.blocks


@measurement
def heads(here: Here, *, model: str | None = None) -> int:
    """Query heads of a block; 0 without blocks."""
    config = here.model(model).transformer.config
    return config.heads if config.blocks else 0


@measurement
def setting(here: Here, name: str, *, model: str | None = None) -> Any:
    """A field of the model's configuration, such as `norm`, `activation` or `tied`."""
    config = here.model(model).transformer.config
    value = getattr(config, name, None) if name.isidentifier() and not name.startswith("_") else None
    if not isinstance(value, bool | int | float | str):
        raise UserError(_("the configuration has no field {name!r}").format(name=name))
    return value


@measurement
def shape(
    here: Here, name: str, *, batch: int = 1, length: int | None = None, model: str | None = None
) -> tuple[int, ...]:
    """The shape of `ids`, `logits`, a weight such as `embed.weight`, or what a module such as `blocks.0` puts out.

    Measured by a forward pass over `batch` copies of the last `length` tokens.
    """
    import torch

    from core.engine.hooks import ForwardHooks

    transformer = here.model(model).transformer
    weights = dict(transformer.named_parameters())
    if name in weights:
        return tuple(weights[name].shape)
    if not (1 <= batch <= 64) or not (length is None or 1 <= length <= 1024):
        raise UserError(_("a batch has 1 to 64 rows, and a length is 1 to 1024"))
    ids = here.ids(model)[-transformer.config.context :][-(length or 0) :]
    ids = (ids * (length or 1))[: length or len(ids)]
    rows = torch.tensor([ids] * batch, device=transformer.device)
    if name == "ids":
        return tuple(rows.shape)
    modules = dict(transformer.named_modules())
    path = {"logits": "", "embedding": "embed"}.get(name, name)
    if path not in modules:
        words = _("there is no {name!r} in {model}; ids, embedding, logits, a weight or a module have a shape")
        raise UserError(words.format(name=name, model=here.model(model).info.name))
    found: list[tuple[int, ...]] = []
    with ForwardHooks() as hooks, torch.inference_mode():
        hooks.after(modules[path], lambda _m, _i, output: found.append(tuple(output.shape)))
        transformer(rows)
    if not found:
        raise UserError(_("{name!r} computes nothing by itself").format(name=name))
    return found[0]
