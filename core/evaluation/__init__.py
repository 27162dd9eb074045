"""Measures models: on a text (`score.score`), against each other (`compare.compare`, `compare.compare_text`), and in
speed and memory (`bench.measure`).

`values` has the frozen results without tensors; it imports no torch.
"""
