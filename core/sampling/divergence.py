"""The Kullback–Leibler divergence between two next-token distributions, in bits."""

import math

import torch
from torch import Tensor


@torch.inference_mode()
def kl_bits(p_logits: Tensor, q_logits: Tensor) -> float:
    """KL(p ‖ q) = Σ p log2(p / q), in bits, from the logits [V] of both; exactly 0 for equal logits.

    The logits may have any float dtype and lie on any device; the computation is in float64 on the CPU.
    """
    log_p, log_q = (logits.to("cpu", torch.float64).log_softmax(-1) for logits in (p_logits, q_logits))
    return kl_bits_from_logprobs(log_p, log_q)


def kl_bits_from_logprobs(log_p: Tensor, log_q: Tensor) -> float:
    """KL(p ‖ q) in bits, from ln p and ln q of the same outcomes, each [n] in float64.

    An outcome with p = 0 adds nothing. The result is ∞ where an outcome has p > 0 and q = 0.
    """
    p = log_p.exp()
    terms = torch.where(p > 0, p * (log_p - log_q), 0.0)
    return max(0.0, terms.sum().item() / math.log(2))
