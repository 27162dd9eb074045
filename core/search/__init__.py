"""Searching for likely continuations instead of drawing them.

`settings.Plan` says what to search for, `search.search` does it: `beam` is beam search, `best_first` finds the N
likeliest answers and proves that there is no likelier one. `continuations.Reader` reads many continuations as a batch.
"""
