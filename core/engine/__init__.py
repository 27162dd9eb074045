"""The model and what runs it. The way in: `model.Transformer` and `random_model`, `prefix.Prefix` to read ids with a
KV cache, `config.ModelConfig` for sizes, `device.resolve` for a device by its name.

`config`, `info` and `threads` import no torch.
"""
