"""LoRA adapters of models from files: a folder in the layout of peft, or a GGUF adapter.

`files.read_adapter` reads what is stored, `attach.attach` puts it beside the weights of a model.
"""
