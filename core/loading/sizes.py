"""How many bytes the weights of a model take, before it is loaded. Needs no torch."""

from collections.abc import Iterator

from core.engine.info import STORED
from core.formats.tensors import StoredTensor
from core.loading import catalog, ladder
from core.loading.checkpoints import card
from core.loading.choice import ModelChoice
from core.loading.description import COMPUTED, ModelDescription, describe

BITS = {"fp32": 32.0, "bf16": 16.0, "fp16": 16.0, "int8": 8.5, "int4": 5.0}
"""Of a weight, with its share of the scales."""
HALF = ("F16", "BF16")


def usual_dtype(description: ModelDescription) -> str:
    """The format that `auto` means on the CPU: the file's own numbers, mapped.

    That is `stored` for GGUF, and fp32 otherwise. Floats of 8 and 4 bits would take four times their size and more in
    float32, and become int8.
    """
    if description.format:
        return STORED
    return "fp32" if all(each.dtype in ("F32", *HALF) for each in _weights(description)) else "int8"


def described_bytes(description: ModelDescription, dtype: str, *, on_cpu: bool = True) -> float:
    """The weights of a model from files in a number format; `stored` is that of the file.

    On the CPU 16-bit numbers of a file stay 16 bits in fp32.
    """
    if dtype == STORED:
        return sum(stored.size for stored in description.tensors.values())
    whole = BITS[dtype] * description.config.parameter_count() / 8
    if dtype == "fp32" and on_cpu:
        whole -= sum(each.size for each in _weights(description) if each.dtype in HALF and len(each.shape) > 1)
    return whole


def _weights(description: ModelDescription) -> Iterator[StoredTensor]:
    return (each for name, each in description.tensors.items() if not name.endswith(COMPUTED))


def weights_bytes(choice: ModelChoice) -> float | None:
    """The weights of a choice on the CPU; None where that is known after a download only.

    Raises `UserError` for files that cannot be read.
    """
    if catalog.is_served(choice.name):
        return 0.0
    if catalog.is_rung(choice.name):
        tokenizer = catalog.tokenizer_of(choice)
        assert tokenizer is not None
        count = ladder.rung(choice.name, tokenizer.vocab_size, choice.changes).config.parameter_count()
        return BITS.get(choice.dtype, 32.0) * count / 8
    if path := catalog.trained(choice.name):
        found = card.read_card(path)
        return path.stat().st_size * BITS.get(choice.dtype, 32.0) / 32 if found else None
    if (location := catalog.find(choice.name)) is None:
        return None
    description = describe(location.path)
    return described_bytes(description, usual_dtype(description) if choice.dtype == "auto" else choice.dtype)
