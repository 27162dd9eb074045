"""From logits to one drawn token.

`sampler.Sampler` holds the settings, `distribution.Distribution` the next-token distribution of a row of logits,
`draw.draw` draws one token, `chart.chart` and `explain.sampler_lens` describe both as values without tensors.
"""
