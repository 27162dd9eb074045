"""What the number formats of a GGUF file are called together."""

from collections import Counter

from core.formats.tensors import WeightsFile

MIXED = {
    **{10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M"},
    **{0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 18: "Q6_K", 32: "BF16"},
    **{19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S"},
    **{27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4"},
}
"""`general.file_type` → the mixture of formats that llama.cpp calls so (`llama_ftype`)."""


def name(file: WeightsFile) -> str:
    """By the matrices: their only format; else what the file says; else the format of most bytes."""
    sizes: Counter[str] = Counter()
    for stored in file.tensors.values():
        if len(stored.shape) > 1:
            sizes[stored.dtype] += stored.size
    stated = MIXED.get(file.metadata.get("general.file_type", -1), "")
    if len(sizes) > 1 and stated:
        return stated
    return max(sizes, key=lambda format: sizes[format], default=stated) or "F32"
