"""Direct logit attribution: what each part of a model wrote towards a measure of the logits at one position.

The final norm divides by the standard deviation (or root mean square) of that position, which is held fixed. Then the
logits are a linear map of the residual stream, and the residual stream is a sum of what the parts wrote, so the
contributions sum to the measure (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al.
2022, section 3.1). Norms of what a sublayer adds, and of the stream itself, are held fixed likewise.

A *direction* is the gradient of the measure under these fixed norms: at a place of width w it is [w], float64, and a
vector there contributes its dot product with it.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.activations.trace import Trace
from core.causal.target import Target
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.engine.parts import Scale
from core.engine.quantized import Quantized
from core.errors import UserError
from core.language import _
from core.loading.model import Model


@dataclass(frozen=True, slots=True)
class Affine:
    """A linear map with a bias, as it acts towards a direction of its output."""

    direction: Tensor
    """Of its input, [in]."""
    bias: float
    """What its output contributes where its input is 0."""


class Directions:
    """The directions of a traced step: of the residual stream, of each sublayer's output, and through linear maps.

    Raises `UserError` for a model whose logits are no linear map of the final norm's output.
    """

    def __init__(self, model: Model, trace: Trace, target: Target) -> None:
        self._transformer: Transformer = model.transformer
        self._adapter = model.adapter
        self.trace, self.target = trace, target
        config = self._transformer.config
        if not isinstance(self._transformer.activation, nn.Identity):
            raise UserError(
                _(
                    "{name} applies an activation function after its blocks, so its logits are not a sum of parts; "
                    "choose model4 or a later model"
                ),
                name=model.info.name,
            )
        after, self.unembedding_bias = self._unembedding()
        scale = self._transformer.scale
        after = after * (scale.factor if isinstance(scale, Scale) else 1.0)
        self.final_norm_bias = self._norm_bias("norm", after)
        self.sublayers: dict[tuple[int, str], Tensor] = {}
        """By block and `attention` or `feed_forward`: the direction of what the sublayer adds to the stream."""
        self.stream_norm_biases: dict[int, float] = {}
        """By block: what the biases of norms of the stream itself contribute."""
        direction = self._before_norm("norm", after)
        for n in reversed(range(config.blocks)):
            direction = self._block(n, direction)
        self.embedding = direction
        """The direction of the residual stream before the first block, [d]."""

    def _block(self, n: int, direction: Tensor) -> Tensor:
        """Set the directions of a block from that of the stream after it; returns that of the stream before it."""
        post = self._transformer.config.layout == "post_norm"
        for sublayer, norm in (("feed_forward", f"blocks.{n}.norm2"), ("attention", f"blocks.{n}.norm1")):
            if post:
                bias = self.stream_norm_biases.get(n, 0.0)
                self.stream_norm_biases[n] = bias + self._norm_bias(norm, direction)
                direction = self._before_norm(norm, direction)
            self.sublayers[n, sublayer] = direction
        return direction

    def _unembedding(self) -> tuple[Tensor, float]:
        """The direction of the state before `scale`'s factor, through `project_out`, and the unembedding's bias."""
        target, unembed = self.target, self._transformer.unembed
        rows = [(target.id, 1.0)] + ([] if target.against is None else [(target.against, -1.0)])
        if self._adapter and self._adapter.changes("unembed"):
            towards = torch.zeros(self._transformer.config.vocab_size, dtype=torch.float64)
            for id, sign in rows:
                towards[id] = sign
            affine = self.through("unembed", towards)
        else:
            width = self._transformer.config.table_dim
            direction, bias = torch.zeros(width, dtype=torch.float64), 0.0
            for id, sign in rows:
                direction += sign * matrix(unembed, id, id + 1)[0].double()
                bias += 0.0 if unembed.bias is None else sign * unembed.bias[id].item()
            affine = Affine(direction, bias)
        if isinstance(self._transformer.project_out, nn.Identity):
            return affine.direction, affine.bias
        projected = self.through("project_out", affine.direction)
        return projected.direction, affine.bias + projected.bias

    def of_stream(self, name: str, direction: Tensor) -> float:
        """What the output of a module at the last position contributes, by its name in the trace."""
        output = self.trace.outputs[name]
        vector = output[-1] if output.dim() < 3 else output[0, -1]
        return dot(vector, direction)

    # Through modules -------------------------------------------------------------------------------------------------

    @torch.inference_mode(mode=False)
    @torch.enable_grad()
    def through(self, name: str, direction: Tensor) -> Affine:
        """A linear map towards a direction of its output [out], with what an adapter adds to it."""
        module: Any = self._transformer.get_submodule(name)
        towards = direction.float().to(self._transformer.device)
        x = torch.zeros(module.in_features if isinstance(module, nn.Linear) else module.shape[1])
        x = x.to(self._transformer.device).requires_grad_()
        if isinstance(module, Quantized):
            output: Tensor = module.forward(x)
        else:
            bias = None if module.bias is None else module.bias.detach().float()
            output = F.linear(x, module.weight.detach().float(), bias)
        added = self._adapter.added(name, x, output) if self._adapter else None
        value = ((output if added is None else output + added) * towards).sum()
        (gradient,) = torch.autograd.grad(value, x)
        return Affine(gradient.cpu().double(), value.item())

    def before_output(self, name: str, direction: Tensor) -> tuple[Tensor, float]:
        """The direction before the norm and the factor of a sublayer's output, and what that norm's bias contributes.

        `name` is that of an attention or of an MLP.
        """
        sublayer: Any = self._transformer.get_submodule(name)
        scale = sublayer.scale
        direction = direction * (scale.factor if isinstance(scale, Scale) else 1.0)
        return self._before_norm(f"{name}.norm", direction), self._norm_bias(f"{name}.norm", direction)

    def _before_norm(self, name: str, direction: Tensor) -> Tensor:
        """The direction of the input of a norm from that of its output, the divisor of the last position held fixed."""
        norm: Any = self._transformer.get_submodule(name)
        if isinstance(norm, nn.Identity):
            return direction
        x = self.trace.last_input(name).cpu().double()
        weight = None if norm.weight is None else norm.weight.detach().cpu().double()
        direction = direction if weight is None else direction * weight
        if isinstance(norm, nn.LayerNorm):
            return (direction - direction.mean()) / (x.var(correction=0) + norm.eps).sqrt()
        assert isinstance(norm, nn.RMSNorm)
        eps = torch.finfo(torch.float32).eps if norm.eps is None else norm.eps
        return direction / (x.square().mean() + eps).sqrt()

    def _norm_bias(self, name: str, direction: Tensor) -> float:
        """What the bias of a norm contributes."""
        bias = getattr(self._transformer.get_submodule(name), "bias", None)
        return 0.0 if bias is None else dot(bias.detach(), direction)


def dot(vector: Tensor, direction: Tensor) -> float:
    """The dot product in float64."""
    return (vector.cpu().double() @ direction).item()
