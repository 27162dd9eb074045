"""Names of the parts of a model, as `core` tells them, in the language in use."""

from core.language import N_, _

NAMES = {
    N_("text"),
    N_("characters"),
    N_("ids"),
    N_("embedding"),
    N_("token embedding"),
    N_("position embedding"),
    N_("embedding norm"),
    N_("position"),
    N_("head"),
    N_("block"),
    N_("query"),
    N_("residual"),
    N_("scale"),
    N_("projection"),
    N_("attention"),
    N_("mlp"),
    N_("norm"),
    N_("queries, keys, values"),
    N_("queries"),
    N_("keys"),
    N_("values"),
    N_("scores"),
    N_("weights"),
    N_("heads"),
    N_("output projection"),
    N_("output norm"),
    N_("up"),
    N_("activation"),
    N_("down"),
    N_("router"),
    N_("shared expert"),
    N_("final norm"),
    N_("unembedding"),
    N_("logits"),
    N_("probabilities"),
    N_("token"),
    N_("output"),
    N_("model"),
    N_("bias"),
    N_("norm biases"),
    N_("final norm bias"),
    N_("unembedding bias"),
    N_("soft cap"),
    N_("minus log Σ exp of all logits"),
    N_("patches and rounding"),
    N_("all that is no head"),
    N_("all heads"),
    N_("other neurons"),
}
NUMBERED = {
    "block": N_("block {number}"),
    "head": N_("head {number}"),
    "neuron": N_("neuron {number}"),
    "expert": N_("expert {number}"),
}
EXPERTS = "weights of experts "


def part_name(name: str) -> str:
    """A name such as `final norm`, `block 3 attention`, `3 mlp` or `head 5.1`; one that is not known stays."""
    if name in NAMES:
        return _(name)
    if name.startswith(EXPERTS):
        return _("weights of experts {numbers}").format(numbers=name.removeprefix(EXPERTS))
    first, _space, rest = name.partition(" ")
    if first in NUMBERED:
        number, _space, more = rest.partition(" ")
        words = _(NUMBERED[first]).format(number=number)
        return f"{words} {part_name(more)}" if more else words
    return f"{first} {part_name(rest)}" if rest and first[0].isdigit() else name
