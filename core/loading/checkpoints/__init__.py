"""Checkpoints of trained rungs: the file, its card, the recipe of a training, and the folders.

`checkpoint.read_checkpoint(path)` and `checkpoint.write_checkpoint(path, …)`; `card.read_card(path)` needs no torch.
"""
