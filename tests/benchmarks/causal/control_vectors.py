"""Steering in llama.cpp and here, with the same control vector: the probabilities of the likeliest tokens.

    python tests/benchmarks/causal/control_vectors.py FOLDER_OF_LLAMA_CPP

SmolLM2's weights are unpacked to float32 first, since llama.cpp rounds activations beside quantized weights. Its
figures stand in tests/core/test_smollm2.py.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import gguf
import numpy as np

from core.activations.apply import patched
from core.activations.patch import Patch
from core.causal.vector_files import read_vector
from core.loading import catalog
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.walk.session import Session

PROMPT, PORT = "I prefer oat milk in", 8432
LAYERS, STRENGTH = (1, 7, 12, 29), 0.5


def control_vector(path: Path, width: int) -> None:
    """A control vector whose direction in layer N is 2 cos(i (N + 1)), i = 0 … d - 1."""
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    for layer in LAYERS:
        writer.add_tensor(f"direction.{layer}", (2 * np.cos(np.arange(width) * (layer + 1.0))).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def theirs(binaries: Path, model: Path, vector: Path | None, ids: list[int]) -> dict[int, float]:
    options = ["--control-vector-scaled", f"{vector}:{STRENGTH}"] if vector else []
    exact = ["-ctk", "f32", "-ctv", "f32", "-fa", "off"]
    command = [binaries / "llama-server", "-m", model, "--port", PORT, "-c", 256, *exact]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(binaries)}
    server = subprocess.Popen([*map(str, command), *options], env=environment, stderr=subprocess.DEVNULL)
    question = {"prompt": ids, "n_predict": 1, "n_probs": 8, "temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
    request = urllib.request.Request(f"http://localhost:{PORT}/completion", json.dumps(question).encode())
    try:
        for _ in range(100):
            time.sleep(0.3)
            try:
                with urllib.request.urlopen(request) as answer:
                    found = json.load(answer)
                break
            except OSError:
                continue
    finally:
        server.kill()
        server.wait()
    return {each["id"]: math.exp(each["logprob"]) for each in found["completion_probabilities"][0]["top_logprobs"]}


def main(binaries: Path) -> None:
    location = catalog.find("smollm2")
    assert location is not None
    ours = load_model(ModelChoice(name="smollm2", dtype="fp32", device="cpu"))
    ids = ours.tokenizer.encode(PROMPT)
    with tempfile.TemporaryDirectory() as folder:
        vector, whole = Path(folder) / "vector.gguf", Path(folder) / "f32.gguf"
        control_vector(vector, ours.transformer.config.embed_dim)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(binaries)}
        quantize = [binaries / "llama-quantize", "--allow-requantize", location.path, whole, "F32"]
        subprocess.run([*map(str, quantize)], env=environment, check=True, capture_output=True)
        for used in (None, vector):
            patches = [Patch(kind="steer", part="stream", factor=STRENGTH, vector=read_vector(used))] if used else []
            with patched(ours, patches):
                walk = Session(ours)
                list(walk.prefill(ids))
                probabilities = walk.distribution().probabilities
            for id, probability in theirs(binaries, whole, used, ids).items():
                print(f"{id:>6} llama.cpp {probability:.6f}  here {probabilities[id].item():.6f}")
            print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
