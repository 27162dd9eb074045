"""Distributed training: joins the process group that `torchrun` started, and leaves it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


@contextmanager
def process_group(device: torch.device) -> Iterator[tuple[torch.device, int]]:
    """The device and the rank of this process, within the group. Waits until every process has joined.

    Without `torchrun` there is one process, of rank 0, and no group.
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


def is_first_process() -> bool:
    """Whether this process has rank 0, or is alone."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
