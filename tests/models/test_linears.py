"""Linear layers through oneDNN beside torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segwright.models.linears import CAPABLE, OneDnnLinear, through_onednn
from segwright.selfcheck.floor import Meter

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() not in CAPABLE,
    reason="torch's own way stays on this processor",
)


def exchanged(plain: nn.Module) -> nn.Module:
    ours = copy.deepcopy(plain)
    through_onednn(ours)
    return ours


@pytest.mark.parametrize("rows", [0, 1, 3, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_the_same_to_rounding(rows: int, bias: bool) -> None:
    plain = nn.Linear(16, 24, bias=bias)
    ours = exchanged(plain)
    assert type(ours) is OneDnnLinear
    given = torch.randn(rows, 2, 16).transpose(0, 1)
    with torch.no_grad():
        found = ours(given)
        assert found.is_contiguous()
        torch.testing.assert_close(found, plain(given))


def test_weights_keep_their_values_and_names() -> None:
    plain = nn.Sequential(nn.Linear(16, 24), nn.Linear(24, 5, bias=False))
    ours = exchanged(plain)
    assert plain.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in plain.state_dict().items())
    assert [p.shape for p in plain.parameters()] == [p.shape for p in ours.parameters()]


def test_half_precision_stays_torchs() -> None:
    assert type(exchanged(nn.Linear(16, 24).to(torch.bfloat16))) is nn.Linear
    plain = nn.Linear(16, 24)
    moved = exchanged(plain).to(torch.bfloat16)
    assert type(moved) is nn.Linear
    assert torch.equal(moved.weight, plain.weight.to(torch.bfloat16))


def test_gradients_flow_to_what_enters() -> None:
    plain = nn.Linear(16, 24)
    given = torch.randn(2, 16, requires_grad=True)
    exchanged(plain)(given).sum().backward()
    torch.testing.assert_close(given.grad, plain.weight.sum(0).expand(2, -1))


def test_operations_are_counted() -> None:
    meter = Meter(torch.device("cpu"))
    ours = exchanged(nn.Linear(16, 24))
    with torch.no_grad(), meter.watching({"one": ours}), meter.counting():
        ours(torch.randn(2, 5, 16))
    assert meter.flop["one"] == 2 * 2 * 5 * 16 * 24
