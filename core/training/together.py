"""Owns training in several processes: nothing but joining those that `torchrun` started, and leaving them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[torch.device, int]]:
    """The device of this process and its rank; all processes begin once every one is there.

    Without `torchrun` there is one process, of rank 0, and nothing is joined.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device, 0
        return
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield own, distributed.get_rank()
    finally:
        distributed.destroy_process_group()
