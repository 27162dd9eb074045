"""File formats: GGUF, safetensors and JSON, checked while they are read. No knowledge of models.

`weights_file.read_weights_file(path)` opens both weight formats; `checked.CheckedValues` and `checked.read_json` read
values of JSON and metadata.
"""
