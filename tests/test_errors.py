"""What counts as memory that is too small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from segwright.errors import is_out_of_memory

ROOT = Path(__file__).parents[1] / "src/segwright"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_is_too_small(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),  # a fault, which smaller batches do not mend
        RuntimeError("shape mismatch"),
        ValueError("out of memory"),
    ],
)
def test_other_errors(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_pytorch_itself_says_so_on_this_machine() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_nobody_reads_such_messages_for_himself() -> None:
    def compares(path: Path) -> bool:
        nodes = [n for n in ast.walk(ast.parse(path.read_text("utf8"))) if isinstance(n, ast.Compare)]
        return any(isinstance(n.left, ast.Constant) and "memory" in str(n.left.value) for n in nodes)

    assert not [str(p) for p in ROOT.rglob("*.py") if compares(p)]
