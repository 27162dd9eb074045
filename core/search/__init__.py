"""Searching for likely continuations instead of drawing them.

`beam.search` is beam search, `best_first.search` finds the N likeliest answers and proves that there is no likelier
one. `continuations.Reader` reads many continuations of one prompt as one batch.
"""
