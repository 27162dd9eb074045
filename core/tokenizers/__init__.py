"""Text to token ids and back. Needs no torch.

`builtin.cl100k()` and `builtin.single_bytes()` are tokenizers without a model; `model_files.read_tokenizer` reads that
of a model; `prune.prune` makes a smaller one; `chat.encode` encodes a prompt, with or without a chat template.
"""
