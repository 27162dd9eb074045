"""Experiments that say why a model prefers one token to another: attribution, patching, gradients, steering."""
