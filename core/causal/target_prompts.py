"""Target prompts of the patchscope that are ready. Imports no torch."""

PLACE = "?"
"""The last token with this character has the position that is patched; without one it is the last token."""
IDENTITY = "cat→cat; 135→135; hello→hello; ?→"
PROMPTS = (
    IDENTITY,
    "cat→cat; 135→135; hello→hello; ?",
    "Syria: Country in the Middle East, Leonardo DiCaprio: American actor, Samsung: South Korean corporation, ?",
)
"""Which token is here, which one comes next (Ghandeharioun et al. 2024, §4.1), what it stands for (§4.3)."""
