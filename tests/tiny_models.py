"""A tiny chat model in the layout of Hugging Face, one token a byte, and a LoRA adapter for it."""

import json
from pathlib import Path

import torch

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as SmolLM2 and Qwen have it."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


def write_chat_model(folder: Path) -> Path:
    """A random GPT-2 over 256 bytes and `SPECIAL`, whose turns end with `<|im_end|>`."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: id for id, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in SPECIAL])
    torch.manual_seed(0)
    sizes = {"vocab_size": 256 + len(SPECIAL), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256}
    config = transformers.GPT2Config(**sizes, bos_token_id=256, eos_token_id=258)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE, "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_adapter(folder: Path, size: int = 16, blocks: int = 2, rank: int = 2) -> Path:
    """A LoRA adapter with large random numbers for the attention of a GPT-2 of that size."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    numbers = torch.Generator().manual_seed(1)
    tensors = {}
    for block in range(blocks):
        name = f"base_model.model.transformer.h.{block}.attn.c_attn.lora"
        tensors[f"{name}_A.weight"] = torch.randn(rank, size, generator=numbers)
        tensors[f"{name}_B.weight"] = torch.randn(3 * size, rank, generator=numbers)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["c_attn"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
