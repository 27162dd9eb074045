"""Asks llama-server of llama.cpp for log-probabilities and ids, and completes small files so that it loads them."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf_files import PARTS

from core.remote.engines.llama import NEUTRAL

FOLDER = os.environ.get("TOKENWALK_LLAMA_CPP", "")
"""Where llama-server and its libraries are."""
EXACT = ("-fa", "off", "-ctk", "f32", "-ctv", "f32")
"""Options with which attention is computed in float32."""
WAIT = 120
"""Seconds until a server must answer."""


class LlamaServer:
    """A llama-server that runs."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=WAIT)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer; None for one that is an error."""
        data = None if body is None else json.dumps(body)
        self._connection.request("POST" if data else "GET", path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        return json.loads(content) if answer.status == 200 else None

    def forget(self) -> None:
        """Close the connection; the next request opens one."""
        self._connection.close()

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text alone."""
        body = {"content": text, "add_special": False, "parse_special": special}
        found: list[int] = self.ask("/tokenize", body)["tokens"]
        return found

    def logprobs(self, ids: Sequence[int], vocab_size: int) -> np.ndarray[Any, Any]:
        """Log-probabilities [V] after a prompt."""
        body = NEUTRAL | {"prompt": list(ids), "n_predict": 1, "n_probs": vocab_size, "cache_prompt": False}
        (position,) = self.ask("/completion", body)["completion_probabilities"]
        found = np.full(vocab_size, np.nan)
        for each in position["top_logprobs"]:
            found[each["id"]] = each["logprob"]
        return found


@contextmanager
def llama_server(path: Path) -> Iterator[LlamaServer]:
    """A server of the model in a file; its log is beside that."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(FOLDER) / "llama-server", "-m", path, "--port", str(port), "-c", "256", "-np", "1", "-t", "1"]
    where = {**os.environ, "LD_LIBRARY_PATH": FOLDER}
    with path.with_suffix(".log").open("w") as log:
        process = subprocess.Popen([*command, "--no-warmup", *EXACT], env=where, stdout=log, stderr=log)
    try:
        server, end = LlamaServer(port), time.monotonic() + WAIT
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(path.with_suffix(".log").read_text()[-1500:])
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(server: LlamaServer) -> bool:
    try:
        return server.ask("/health") is not None
    except OSError:
        server.forget()
        return False


def extended(path: Path, keys: Mapping[str, Any], tensors: Mapping[str, Any]) -> Path:
    """The file with further keys, and tensors in the place of those of the same name."""
    reader = gguf.GGUFReader(path)
    target = path.with_suffix(".whole.gguf")
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "general.architecture")) and key not in keys:
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), _unsigned(field.types[0]), sub_type=inner)
    for key, value in keys.items():
        writer.add_key_value(key, value, _unsigned(gguf.GGUFValueType.get_type(value)))
    for tensor in reader.tensors:
        if tensor.name not in tensors:
            exact = None if tensor.tensor_type <= 1 else tensor.tensor_type
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=exact)
    for name, numbers in tensors.items():
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _unsigned(kind: gguf.GGUFValueType) -> gguf.GGUFValueType:
    """llama.cpp refuses numbers with a sign; we read both."""
    return gguf.GGUFValueType.UINT32 if kind is gguf.GGUFValueType.INT32 else kind


def with_tokenizer(path: Path, vocab_size: int) -> Path:
    """The model with a token for each of `vocab_size` characters."""
    tokens = ["Ċ", *(chr(number) for number in range(33, 32 + vocab_size))]
    keys = {"model": "gpt2", "pre": "gpt-2", "tokens": tokens, "merges": ["a b"], "token_type": [1] * vocab_size}
    keys |= {"bos_token_id": 1, "eos_token_id": 2}
    return extended(path, {f"tokenizer.ggml.{key}": value for key, value in keys.items()}, {})


def with_model(path: Path) -> Path:
    """The tokenizer with the smallest Llama."""
    vocab_size = len(gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"].data)
    sizes = {"context_length": 256, "embedding_length": 32, "block_count": 1, "feed_forward_length": 32}
    sizes |= {"attention.head_count": 1, "attention.head_count_kv": 1, "vocab_size": vocab_size}
    keys = {f"llama.{key}": value for key, value in sizes.items()} | {"llama.attention.layer_norm_rms_epsilon": 1e-5}
    square, norm = np.ones((32, 32), np.float32), np.ones(32, np.float32)
    names = [name for name in PARTS.values() if name not in ("token_embd", "output", "attn_q_norm", "attn_k_norm")]
    block = {f"blk.0.{name}.weight": norm if "norm" in name else square for name in names if name != "output_norm"}
    embedding = {"token_embd.weight": np.ones((vocab_size, 32), np.float32), "output_norm.weight": norm}
    return extended(path, keys, block | embedding)
