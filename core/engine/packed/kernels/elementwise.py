"""Norms and activation functions of float32 vectors, in place, written so that LLVM vectorizes them."""

import math

import numpy as np

from core.engine.packed.kernels.descriptors import GELU, GELU_TANH, SILU
from core.engine.packed.kernels.emit import bits_of_float, compiled, float_from_bits, floats


@compiled
def normalize(x, weight, bias, eps, layer_norm):
    """RMS norm of `x` in place, or layer norm; `weight` and `bias` are addresses."""
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
        x[n] = (x[n] - mean) * inverse * weights[n]
    if bias:
        biases = floats(bias, count)
        for n in range(count):
            x[n] += biases[n]


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
    else:
        for n in range(len(x)):
            x[n] = max(x[n], np.float32(0))
