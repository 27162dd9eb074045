"""Everything that is known about a loaded model: sizes, number formats, files, tokenizer, adapter, what computes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from core.engine import memory, threads
from core.engine.config import ModelConfig
from core.engine.device import dtype_name
from core.engine.packed.compiled import PLAIN
from core.engine.packed.kernels.cache_problems import problems
from core.engine.packed.linear import Packed
from core.errors import UserError
from core.loading import catalog
from core.loading.files import parts, weights_files
from core.loading.info import ModelInfo
from core.loading.model import Model
from core.remote.values import Capabilities
from core.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """The tensors of a loaded model that have one number format."""

    name: str
    """GGUF's name for the blocks of a file, else `fp32`, `bf16` …"""
    tensors: int
    parameters: int
    size_bytes: int
    """As they are in memory, or in the mapped file."""


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token that no ordinary text is encoded to."""

    id: int
    text: str
    """As the files write it; it may hold anything."""
    uses: tuple[str, ...]
    """Among `begin`, `end` (before and after each text) and `stop` (it ends a text)."""


@dataclass(frozen=True, slots=True)
class TokenizerDetails:
    """What a model reads text with."""

    name: str
    kind: str
    """Such as `byte-level BPE`; empty where an engine elsewhere keeps it to itself."""
    vocab_size: int
    special: tuple[SpecialToken, ...]
    """The first `MOST_SPECIAL`; those with a use come first."""
    special_count: int
    """How many there are."""
    template: bool
    """Whether there is a chat template."""
    warning: str


@dataclass(frozen=True, slots=True)
class AdapterDetails:
    """A LoRA adapter beside the weights."""

    source: str
    scale: float
    modules: int
    """How many modules of the model it changes."""
    parameters: int


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """A loaded model. What is not on this machine is None or empty."""

    info: ModelInfo
    tokenizer: TokenizerDetails
    config: ModelConfig | None = None
    formats: tuple[NumberFormat, ...] = ()
    """The largest first."""
    files: tuple[tuple[str, int], ...] = ()
    """Path and bytes of each file of weights."""
    mapped_bytes: int | None = None
    """Bytes of the weights that are computed from the mapped files; None where the system does not tell."""
    process_bytes: int | None = None
    """Memory of this process, without pages of files that it only reads."""
    adapter: AdapterDetails | None = None
    implementation: str = ""
    """What computes single tokens, and why where that is slower than it can be."""
    threads: int = 0
    product_threads: int = 0
    """Of products of compiled code; 0 where there are none."""
    problems: tuple[str, ...] = ()
    """What was wrong with the cache of compiled code."""
    engine: Capabilities | None = None
    """What the engine elsewhere said; None where the model runs here."""

    @property
    def weights_bytes(self) -> int:
        """Of all weights; a tied matrix counts once."""
        return sum(each.size_bytes for each in self.formats)


MOST_SPECIAL = 40
"""Special tokens that are told one by one."""


def details(model: Model) -> ModelDetails:
    """What is known of a model, on the thread that computes it."""
    tokenizer = _tokenizer(model.tokenizer)
    if model.requests:
        return ModelDetails(model.info, tokenizer, engine=model.requests.engine.capabilities)
    transformer = model.transformer
    files = _files(model)
    packed = any(isinstance(module, Packed) for module in transformer.modules())
    tensors = [*transformer.parameters(), *transformer.buffers()]
    mapped = memory.mapped_bytes([path for path, _ in files], [(each.data_ptr(), each.nbytes) for each in tensors])
    return ModelDetails(
        info=model.info,
        tokenizer=tokenizer,
        config=transformer.config,
        formats=_formats(transformer),
        files=tuple((str(path), size) for path, size in files),
        mapped_bytes=mapped,
        process_bytes=memory.used(),
        adapter=_adapter(model),
        implementation=transformer.implementation,
        threads=torch.get_num_threads(),
        product_threads=threads.products() if packed and not model.info.slow_path else 0,
        problems=tuple(problems),
    )


def _formats(transformer: torch.nn.Module) -> tuple[NumberFormat, ...]:
    """The number formats of all weights; shared tensors count once."""
    seen: set[int] = set()
    found: dict[str, list[int]] = {}

    def add(name: str, tensor: torch.Tensor, parameters: int) -> None:
        if tensor.data_ptr() not in seen and parameters:
            seen.add(tensor.data_ptr())
            sums = found.setdefault(name, [0, 0, 0])
            for at, value in enumerate((1, parameters, tensor.nbytes)):
                sums[at] += value

    for module in transformer.modules():
        if isinstance(module, Packed):
            for part in module.parts:
                plain = PLAIN.get(part.format)
                add(dtype_name(plain) if plain else part.format, part.weights, part.shape[0] * part.shape[1])
        for tensor in module.parameters(recurse=False):
            add(dtype_name(tensor.dtype), tensor, tensor.numel())
    largest = sorted(found.items(), key=lambda each: -each[1][2])
    return tuple(NumberFormat(name, *sums) for name, sums in largest)


def _files(model: Model) -> list[tuple[Path, int]]:
    """The files of weights, and their sizes."""
    try:
        if catalog.is_rung(model.choice.name):
            return []
        if path := catalog.trained(model.choice.name):
            found: Sequence[Path] = [path]
        elif location := catalog.find(model.choice.name):
            found = weights_files(location.path) if location.path.is_dir() else parts(location.path)
        else:
            return []
        return [(path, path.stat().st_size) for path in found]
    except (UserError, OSError):  # they are gone since
        return []


def _tokenizer(tokenizer: Tokenizer) -> TokenizerDetails:
    special = list(_special(tokenizer))
    return TokenizerDetails(
        name=tokenizer.name,
        kind=tokenizer.kind,
        vocab_size=tokenizer.vocab_size,
        special=tuple(sorted(special, key=lambda each: not each.uses)[:MOST_SPECIAL]),
        special_count=len(special),
        template=tokenizer.template is not None,
        warning=tokenizer.warning,
    )


def _special(tokenizer: Tokenizer) -> Iterator[SpecialToken]:
    roles = {"begin": tokenizer.begin, "end": tokenizer.end, "stop": tokenizer.stops}
    for id in sorted({*tokenizer.special_ids(), *tokenizer.begin, *tokenizer.end, *tokenizer.stops}):
        uses = tuple(use for use, ids in roles.items() if id in ids)
        yield SpecialToken(id, tokenizer.piece(id).decode("utf-8", "backslashreplace"), uses)


def _adapter(model: Model) -> AdapterDetails | None:
    adapter = model.adapter
    if adapter is None:
        return None
    return AdapterDetails(model.choice.lora, adapter.scale, *adapter.size())
