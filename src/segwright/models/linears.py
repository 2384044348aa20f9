"""Linear layers in float32 on a CPU, through oneDNN: the same sums in another order, in less time.

torch itself gives them to MKL, which uses half the width of an AMD processor's units, and reads the weights slowly where rows are
few. Measured on a Zen 5, one thread: ``benchmarks/README.md``, "A caption".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CAPABLE = ("AVX2", "AVX512")  # where it was measured, or the same code runs; elsewhere torch's own ways stay


def through_onednn(network: nn.Module) -> None:
    """Exchange the linear layers of a frozen network in place, where it is on a CPU and in float32; else nothing is done.

    Weights in oneDNN's order take the place of the others, one layer after the other, so that there are never two copies; only
    those that another module reads too (a vocabulary that is also the embeddings) are kept twice.
    """
    known = all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))  # torch's own, private
    if not (known and torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in CAPABLE):
        return
    for module in network.modules():
        weight = module.weight if type(module) is nn.Linear else None
        if weight is not None and weight.device.type == "cpu" and weight.dtype == torch.float32:
            module.__class__ = OneDnnLinear
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            module.weight = nn.Parameter(packed, requires_grad=False)


class OneDnnLinear(nn.Linear):
    """A linear layer whose weights lie in oneDNN's own order, as torch.compile's code for frozen networks keeps them."""

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() and input.requires_grad:  # oneDNN's product has no gradient
            return F.linear(input, self.weight.to_dense(), self.bias)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.weight.to_dense()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """On another device or in another type it is torch's own layer again."""
        self.__class__ = nn.Linear  # type: ignore[assignment]
        self.weight = nn.Parameter(self.weight.to_dense(), requires_grad=False)
        return self._apply(fn, recurse)
