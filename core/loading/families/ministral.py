"""Ministral (Mistral AI 2024): Mistral whose `layer_types` say which blocks have the window."""

from core.loading.families import llama_layout, mistral
from core.loading.families.family import Family

FAMILY = Family(
    model_type="ministral",
    title="Ministral",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    config=mistral.config,
)
