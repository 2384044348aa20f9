"""What NAME.json says: the segments of a result, how it came about, and with which versions."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch

from segwright.errors import InputError
from segwright.types import Segmentation

PACKAGES = ("segwright", "torch", "diffusers", "transformers")


def segments(segmentation: Segmentation) -> list[dict[str, Any]]:
    """One entry for each word that has a pixel, in vocabulary order.

    Returns:
        ``index`` (the label; 1 is the first word), ``word``, ``area`` in pixels, ``box`` [x0, y0, x1, y1] in pixels
        with x1 and y1 just outside, ``score``: ``Segmentation.score``.

    Raises:
        InputError: scores of another size than the label map.
    """
    scores = segmentation.scores
    if scores is not None and scores.values.shape[1:] != segmentation.labels.shape:
        raise InputError(
            f"scores are {tuple(scores.values.shape[1:])} but the label map is {segmentation.labels.shape}; resize the scores first"
        )
    return [_segment(segmentation, int(label)) for label in np.unique(segmentation.labels) if label]


def record(
    segmentation: Segmentation,
    photo: str | os.PathLike[str] | None = None,
    preset: str | None = None,
    settings: Any = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """The content of NAME.json, ready for ``json.dumps(..., allow_nan=False)``.

    Args:
        photo: its name or path, as the user gave it.
        settings: a mapping or a dataclass.

    Returns:
        ``photo``, ``size`` [width, height], ``words`` (the vocabulary), ``segments``, then every entry of the
        segmentation's notes (caption, keywords, dropped candidates ...), ``preset``, ``settings``, ``seed`` where
        given here (else the notes' own, else null), and ``versions``.
    """
    height, width = segmentation.labels.shape
    given = {"preset": preset, "settings": settings, "seed": seed}
    first = {"photo": photo, "size": [width, height], "words": segmentation.words, "segments": segments(segmentation)}
    notes = {str(key): value for key, value in segmentation.notes.items()}
    last = {key: value if value is not None else notes.pop(key, None) for key, value in given.items()}
    content = {**first, **{key: value for key, value in notes.items() if key not in first | last}, **last}
    return {key: plain(value) for key, value in content.items()} | {"versions": versions()}


def encode_record(content: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON, indented, with a final newline, and strict: no NaN or Infinity."""
    return (json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def versions() -> dict[str, str | None]:
    """The version of each of ``PACKAGES``; None for one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


def all_versions() -> dict[str, str | None]:
    """Of the packages on whose arithmetic results depend."""
    return versions() | {"numpy": np.__version__}


def plain(value: Any) -> Any:
    """``value`` in JSON's own kinds: arrays become lists, NaN and infinities null, what is unknown its text."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value).encode("utf8", "backslashreplace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(str(key))): plain(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return plain(value.detach().cpu().tolist())
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else plain(str(value))


def _segment(segmentation: Segmentation, label: int) -> dict[str, Any]:
    mask = np.asarray(segmentation.labels == label)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return {
        "index": label,
        "word": segmentation.words[label - 1],
        "area": int(mask.sum()),
        "box": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
        "score": segmentation.score(label, mask),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
