"""Where weights come from, as `ModelInfo.weights` tells it in English, in the language in use."""

import re

from core.language import N_, _

FORMS = (
    N_("{weights}, with the LoRA {lora}"),
    N_("{weights} ({note})"),
    N_("{file}, not the files of its index"),
    N_("the language model alone: {count} tensors of other parts are not used"),
    N_("{model}, served by {engine}"),
    N_("random weights, seed {seed}"),
    N_("trained for {steps} steps on {corpus}, loss {loss}, {above} above its floor"),
    N_("trained for {steps} steps on {corpus}, loss {loss}"),
    N_("{file} of the installed package {package}"),
    N_("{name} in the Hugging Face cache"),
    N_("{name} from the Hugging Face Hub"),
)
CORPORA = {N_("the tiny world")}


def origin_text(weights: str) -> str:
    """`random weights, seed 3` in the language in use; a text of another form stays."""
    for form in FORMS:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(form))
        if found := re.fullmatch(pattern, weights):
            return _(form).format(**{name: _value(name, each) for name, each in found.groupdict().items()})
    return weights


def _value(name: str, text: str) -> str:
    if name == "note":
        return "; ".join(map(origin_text, text.split("; ")))
    return origin_text(text) if name == "weights" else _(text) if text in CORPORA else text
