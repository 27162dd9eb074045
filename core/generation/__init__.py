"""Generating tokens one after the other.

`token.Token` is one token of a sequence, `sample.Sample` one growing continuation with its stop conditions
(`stop_conditions.parse`), `batch.Batch` several continuations of one prompt.
"""
