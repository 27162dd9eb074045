"""A tiny world: texts of a small grammar, whose true next-token distribution is known exactly.

The way in: `tiny` for the texts, their tokenizer and `TrueDistribution`; `automaton.Floors` for the lowest losses;
`truth.known_truth` for charts. `batched` and `truth` import torch; the other modules do not.
"""
