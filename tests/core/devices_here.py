"""The devices that tests run on: the CPU, and each GPU of this machine."""

import torch

from core.engine.device import devices

HERE = [torch.device(info.name) for info in devices() if not info.problem]
