"""Norms and activation functions of float32 vectors, in place, written so that LLVM vectorizes them."""

import math

import numpy as np

from core.engine.packed.kernels.descriptors import GELU, GELU_TANH, SIGMOID, SILU
from core.engine.packed.kernels.emit import bits_of_float, compiled, float_from_bits, floats


@compiled
def normalize(x, result, weight, bias, eps, layer_norm):
    """RMS norm of `x`, or layer norm; `weight` and `bias` are addresses. `result` may be `x` itself."""
    count = len(x)
    weights = floats(weight, count)
    mean, square = np.float32(0), np.float32(0)
    if layer_norm:
        for n in range(count):
            mean += x[n]
        mean /= np.float32(count)
    for n in range(count):
        square += (x[n] - mean) * (x[n] - mean)
    inverse = np.float32(1 / math.sqrt(square / count + eps))
    for n in range(count):
        result[n] = (x[n] - mean) * inverse * weights[n]
    if bias:
        biases = floats(bias, count)
        for n in range(count):
            result[n] += biases[n]


@compiled
def _round(x):
    """The nearest integer for |x| < 2^22: adding 1.5 · 2^23 leaves it in the low bits of the float."""
    return np.int32(bits_of_float(x + np.float32(12582912)) - np.int32(0x4B400000))


@compiled
def exp(x):
    """e^x in float32, within 2 units in the last place: 2^n by the exponent bits, the rest by Cephes' polynomial."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = _round(x * np.float32(1.44269504))
    power = np.float32(n)
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    series = np.float32(1.9875691500e-4) * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    return (series * rest * rest + rest + np.float32(1)) * float_from_bits(np.int32((n + 127) << 23))


@compiled
def _sigmoid(x):
    return np.float32(1) / (np.float32(1) + exp(-x))


@compiled
def activate(x, activation):
    """The activation function of all numbers of `x`, in place."""
    if activation == SILU:
        for n in range(len(x)):
            x[n] *= _sigmoid(x[n])
    elif activation == GELU_TANH:
        for n in range(len(x)):
            x[n] *= _sigmoid(np.float32(1.5957691216) * (x[n] + np.float32(0.044715) * x[n] * x[n] * x[n]))
    elif activation == GELU:
        for n in range(len(x)):
            x[n] *= np.float32(0.5) * (np.float32(1) + np.float32(math.erf(x[n] * np.float32(0.70710678))))
    elif activation == SIGMOID:
        for n in range(len(x)):
            x[n] = _sigmoid(x[n])
    else:
        for n in range(len(x)):
            x[n] = max(x[n], np.float32(0))


@compiled
def clamped_gate(gates, values, limit):
    """(1 + u) · g · σ(1.702 g) of clamped g and u, in the place of the gates."""
    for n in range(len(gates)):
        gate, value = min(gates[n], limit), min(max(values[n], -limit), limit)
        gates[n] = (np.float32(1) + value) * gate * _sigmoid(np.float32(1.702) * gate)


@compiled
def cap(x, most):
    """most · tanh(x / most) of all numbers of `x`, in place; tanh(y) is 1 - 2 / (e^(2y) + 1)."""
    for n in range(len(x)):
        x[n] = most - np.float32(2) * most / (exp(np.float32(2) * x[n] / most) + np.float32(1))


@compiled
def choose(scores, chosen, weights, normalized):
    """The numbers of the highest scores, and their softmax among all scores, or where `normalized` among the chosen.

    `scores` are changed.
    """
    maximum, total, taken = np.float32(-3e38), np.float32(0), np.float32(0)
    for n in range(len(scores)):
        maximum = max(maximum, scores[n])
    for n in range(len(scores)):
        scores[n] = exp(scores[n] - maximum)
        total += scores[n]
    for place in range(len(chosen)):
        best = 0
        for n in range(len(scores)):
            if scores[n] > scores[best]:
                best = n
        chosen[place], weights[place] = best, scores[best]
        taken += scores[best]
        scores[best] = np.float32(-1)
    for place in range(len(chosen)):
        weights[place] /= taken if normalized else total
