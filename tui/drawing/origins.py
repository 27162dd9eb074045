"""Where weights come from, as `ModelInfo.weights` tells it in English, in the language in use."""

import re

from core.language import N_, _

FORMS = (
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
            values = found.groupdict()
            return _(form).format(**{name: _(each) if each in CORPORA else each for name, each in values.items()})
    return weights
