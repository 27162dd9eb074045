"""Tiny models in the layout of Hugging Face, one token a byte: a chat model, a LoRA adapter for it, a cached Pythia."""

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


def write_pythia_cache(cache: Path) -> Path:
    """Four revisions of a random Pythia in the layout of huggingface_hub's cache; one is a commit without a name."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: id for id, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    repository = cache / "models--EleutherAI--pythia-tiny"
    for seed, (commit, name) in enumerate((("a", "main"), ("b", "step1000"), ("c", "refs/pr/1"), ("d", ""))):
        folder = repository / "snapshots" / (40 * commit)
        folder.mkdir(parents=True)
        if name:
            reference = repository / "refs" / name
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(40 * commit)
        torch.manual_seed(seed)
        config = transformers.GPTNeoXConfig(
            vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = transformers.GPTNeoXForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        model.save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
    return cache


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
