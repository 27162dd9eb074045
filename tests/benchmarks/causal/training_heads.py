"""The share of a training's processor time that the scores of its heads take.

OMP_NUM_THREADS=1 python tests/benchmarks/causal/training_heads.py [EVERY]     steps between evaluations, 50
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from core.causal.heads import head_moment
from core.engine.model import Transformer
from core.loading.checkpoints.recipe import Recipe
from core.training.events import HeadMoment
from core.training.training import Training


def main(every: int) -> None:
    spent: list[float] = []

    def observe(model: Transformer, ids: Tensor) -> HeadMoment | None:
        start = time.process_time()
        found = head_moment(model, ids)
        spent.append(time.process_time() - start)
        return found

    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for _ in Training(Recipe(steps=500, every=every), Path(folder), torch.device("cpu"), observe=observe).run():
            pass
    total = time.process_time() - start
    print(f"{len(spent)} times {1000 * sum(spent) / len(spent):.0f} ms: {sum(spent) / total:.2%} of {total:.1f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 50)
