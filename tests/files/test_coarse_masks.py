"""Attacks on masks from files: damaged headers, claimed sizes, thousands of labels."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from segwright.errors import InputError
from segwright.files.coarse_masks import read_coarse
from segwright.files.masks import write_label_map

SIZE = (40, 50)


def npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1") + body


HEADERS = {
    "huge": "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000, 1000)}",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 40, 50)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (40, 50)}",
    "syntax": "{'descr': '<f4', 'fortran_order': False, 'shape': (",
    "deep": "(" * 3000,
    "kind": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
    "wrong": "{'descr': 7, 'fortran_order': 'no', 'shape': 'all'}",
    "code": "__import__('os').system('false')",
    "zeros": "\0" * 64,
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.npy").write_bytes(header(HEADERS[name], bytes(64)))
    tracemalloc.start()
    with pytest.raises(InputError, match="cannot be read as a NumPy array"):
        read_coarse(tmp_path / "m.npy", SIZE)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_damaged_arrays_are_read_or_refused(suffix: str, tmp_path: Path) -> None:
    rng, scores = random.Random(0), np.full((3, *SIZE), 1 / 3, np.float32)
    whole = npy(scores) if suffix == ".npy" else save({"scores": scores})
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            content[rng.randrange(160)] = rng.randrange(256)
        (tmp_path / f"m{suffix}").write_bytes(bytes(content)[: rng.choice((len(whole), rng.randrange(len(whole))))])
        try:
            assert read_coarse(tmp_path / f"m{suffix}", SIZE).values.shape[1:] == SIZE
        except InputError:
            continue


def test_pickles_stay_shut(tmp_path: Path) -> None:
    (tmp_path / "m.npy").write_bytes(npy(np.array([{}], object), allow_pickle=True))
    with pytest.raises(InputError, match="cannot be read"):
        read_coarse(tmp_path / "m.npy", SIZE)


def test_noise_in_16_bits_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (700, 700))
    path = write_label_map(tmp_path / "m.png", noise)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"\d+ indices at 700x700 pixels; at most 512"):
        read_coarse(path, (700, 700))
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


def test_scores_are_bounded_at_the_photos_size(tmp_path: Path) -> None:
    (tmp_path / "m.npy").write_bytes(npy(np.ones((500, 1, 1), np.float32)))
    with pytest.raises(InputError, match=r"500 indices at 2000x2000 pixels"):
        read_coarse(tmp_path / "m.npy", (2000, 2000))
