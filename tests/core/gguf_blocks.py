"""Random blocks of every format of GGUF that is computed as stored, and of some others."""

import gguf
import numpy as np
import torch
from torch import Tensor

SCALES = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    **{"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,)},
}
"""Where the float16 numbers of a block are; all other bytes may be anything."""


WITHOUT_CODE = dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ3_S"), (0,))
"""The same of some formats that are unpacked to 16-bit numbers."""


def random_blocks(
    name: str, rows: int, columns: int, seed: int = 0, byte: int | None = None, scale: float = 1.0
) -> Tensor:
    """uint8 [rows, bytes of a row] with scales near `scale`; with `byte`, all bytes but the scales are that one."""
    generator = np.random.default_rng(seed)
    count, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    shape = (rows, columns // count, size)
    blocks = generator.integers(0, 256, shape, dtype=np.uint8) if byte is None else np.full(shape, byte, np.uint8)
    for place in (SCALES | WITHOUT_CODE)[name]:
        halves = (scale * generator.standard_normal(shape[:2])).astype(np.float16)
        blocks[..., place : place + 2] = halves.view(np.uint8).reshape(*shape[:2], 2)
    return torch.from_numpy(blocks.reshape(rows, -1))


def numbers(name: str, blocks: Tensor) -> Tensor:
    """What the gguf package unpacks, float64 [rows, columns]."""
    return torch.from_numpy(gguf.dequantize(blocks.numpy(), gguf.GGMLQuantizationType[name])).double()
