"""Owns how far one next-token distribution is from another."""

import torch
from torch import Tensor


@torch.inference_mode()
def kl_nats(before: Tensor, after: Tensor) -> float:
    """KL(before ‖ after) = Σ p ln(p / q), nats in float64, from the logits [V] of both; exactly 0 for the same ones."""
    p, q = (logits.to("cpu", torch.float64).log_softmax(-1) for logits in (before, after))
    return max(0.0, torch.where(p > -1e4, p.exp() * (p - q), 0.0).sum().item())
