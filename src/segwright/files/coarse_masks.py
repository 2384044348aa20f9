"""Coarse masks from files: label maps and scores of any source, as Scores that refiners take."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import read_array, read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from torch import Tensor

from segwright.errors import InputError
from segwright.files.masks import read_label_map
from segwright.types import Scores
from segwright.untrusted import open_regular
from segwright.words.vocabulary import check_words

SUFFIXES = (".png", ".npy", ".safetensors")  # of masks, the first that is there
VOID = 255  # Pascal VOC's "no label"
TRUST = 0.99  # with CutLER's CRF, the best of 0.7, 0.9 and 0.99 on coarsened real masks (docs/methods/g4seg.md)
LARGEST = 65535
PLANES, VALUES = 512, 500_000_000  # indices in a mask, and scores, 4 bytes each, for them all


def parse_words_map(text: str) -> dict[int, str]:
    """ "1=dog, 2=sofa" -> {1: "dog", 2: "sofa"}.

    Raises:
        InputError: something else, an index twice, or an unusable word.
    """
    found: dict[int, str] = {}
    for part in text.split(","):
        index, equals, word = part.partition("=")
        if not equals or not index.strip().isdecimal() or not 1 <= int(index) <= LARGEST:
            raise InputError(f"a words map is written as 1=dog,2=sofa with indices from 1, got {part.strip()!r}")
        if int(index) in found:
            raise InputError(f"index {int(index)} has two words in {text!r}; give each index once")
        found[int(index)] = check_words([word])[0]
    return found


def read_coarse(path: Path, size: tuple[int, int], words: Mapping[int, str] | None = None, trust: float = TRUST) -> Scores:
    """The coarse mask in a file, for a photo of ``size`` = (H, W); its indices are the labels of the scores.

    Args:
        path: a label map (palette or grey PNG, or .npy with (H, W) integers), or scores for each class (.npy or
            .safetensors, (C, H, W) floats, first axis the class, 0 = background; other sizes are interpolated).
        words: index -> word; None calls them "index 1", "index 2" ...
        trust: of label maps, see ``hard_scores``.

    Raises:
        InputError: no such file, no mask, a label map of another size, or an index without a word.
    """
    if path.suffix.lower() not in (".npy", ".safetensors"):
        return hard_scores(_of_size(read_label_map(path), size, path), words, trust, str(path))
    array = _read_npy(path) if path.suffix.lower() == ".npy" else _read_safetensors(path)
    if array.ndim == 2 and np.issubdtype(array.dtype, np.integer):
        return hard_scores(_of_size(array.astype(np.int64), size, path), words, trust, str(path))
    return soft_scores(array, size, words, str(path))


def hard_scores(
    labels: NDArray[np.int64],
    words: Mapping[int, str] | None = None,
    trust: float = TRUST,
    name: str = "the mask",
) -> Scores:
    """A label map as probabilities: ``trust`` for a pixel's label, the rest spread evenly over all classes of the photo.

    Args:
        labels: (H, W), 0 = background; 255 is void (every class alike) unless ``words`` has it.
        trust: 0.75 .. 1.

    Raises:
        InputError: a negative index, or one without a word.
    """
    if labels.min() < 0 or labels.max() > LARGEST:
        raise InputError(f"{name}: indices must lie in 0..{LARGEST}, got {labels.min()}..{labels.max()}")
    void = labels == VOID if not words or VOID not in words else np.zeros_like(labels, bool)
    present = sorted({0, *(int(v) for v in np.unique(labels[~void]))})
    _check_room(len(present), labels.shape, name)
    values = torch.empty(len(present), *labels.shape)
    for plane, label in zip(values, present, strict=True):
        plane.copy_(torch.from_numpy(np.where(void, np.float32(1 / len(present)), labels == label)))
    values.mul_(trust).add_((1 - trust) / len(present))
    return Scores(_vocabulary(present, words, name), tuple(present), values / values.sum(0))


def soft_scores(
    array: NDArray[Any], size: tuple[int, int], words: Mapping[int, str] | None = None, name: str = "the mask"
) -> Scores:
    """(C, h, w) scores from 0 up as Scores of the photo's size; classes without any score are left out.

    Raises:
        InputError: another shape, negative or not finite, pixels without any score, or a class without a word.
    """
    if array.ndim != 3 or array.dtype.kind not in "fiu" or not array.size:
        raise InputError(f"{name}: scores must be (classes, H, W) numbers, got {array.dtype} {array.shape}")
    _check_room(len(array), size, name)
    values = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    if not bool(torch.isfinite(values).all()) or float(values.min()) < 0:
        raise InputError(f"{name}: scores must be probabilities from 0 up, got {float(values.min())}..{float(values.max())}")
    if tuple(values.shape[1:]) != size:
        values = F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
    total = values.sum(0)
    if float(total.min()) <= 0:
        raise InputError(f"{name}: every pixel needs a score above 0 for some class; give class 0 what no other has")
    present = [0, *(i for i in range(1, len(values)) if bool((values[i] > 0).any()))]
    return Scores(_vocabulary(present, words, name), tuple(present), values[present] / total)


def _check_room(planes: int, size: tuple[int, ...], name: str) -> None:
    """Raises:
    InputError: more scores than are refined at once; there is one a pixel for every index that occurs.
    """
    if planes > PLANES or planes * size[0] * size[1] > VALUES:
        got = f"{planes} indices at {size[1]}x{size[0]} pixels"
        raise InputError(f"{name} has {got}; at most {PLANES} indices and {VALUES:,} scores are refined: is it a label map?")


def find_mask(photo: Path, masks: Path, root: Path | None = None) -> Path:
    """The mask of a photo: ``masks`` itself if that is a file, else the file of the photo's name in that folder.

    Args:
        root: the folder in which the photo was found; sub-folders must be alike in both.

    Raises:
        InputError: there is none.
    """
    if not masks.is_dir():
        return masks
    below = photo.relative_to(root).parent if root is not None and photo.is_relative_to(root) else Path()
    for suffix in SUFFIXES:
        path = masks / below / f"{photo.stem}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"{photo}: there is no mask {masks / below / photo.stem}.png (or .npy, .safetensors)")


def _vocabulary(present: list[int], words: Mapping[int, str] | None, name: str) -> tuple[str, ...]:
    """Words for 1 .. the largest index; those that are not present may stay without one of their own."""
    missing = [i for i in present if i and words is not None and i not in words]
    if missing:
        raise InputError(f"{name}: index {missing[0]} has no word; the words must name every index of the mask")
    return tuple((words or {}).get(i, f"index {i}") for i in range(1, present[-1] + 1))


def _of_size(labels: NDArray[np.int64], size: tuple[int, int], path: Path) -> NDArray[np.int64]:
    if labels.shape != size:
        got = f"{labels.shape[1]}x{labels.shape[0]}"
        raise InputError(f"{path} is {got} pixels and its photo {size[1]}x{size[0]}; a label map must have its photo's size")
    return labels


def _read_npy(path: Path) -> NDArray[Any]:
    """The array, whose header is believed only as far as the file is long."""
    try:
        with open_regular(path) as file:
            header = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}.get(read_magic(file))
            if header is None:
                raise ValueError("a version that is not known")
            shape, _, dtype = header(file)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or not 0 <= size == os.fstat(file.fileno()).st_size - file.tell() or size > 8 * VALUES:
                raise ValueError(f"{dtype} {shape} does not fit the file")
            file.seek(0)
            return np.asarray(read_array(file, allow_pickle=False))
    except Exception as error:  # damaged headers raise nearly anything
        raise InputError(f"{path} cannot be read as a NumPy array ({' '.join(str(error).split())[:160]})") from error


def _read_safetensors(path: Path) -> NDArray[Any]:
    """The only tensor, or the one named "scores"."""
    from safetensors.torch import load_file

    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > 8 * VALUES:
                raise InputError(f"{path} has more than {8 * VALUES:,} bytes; no such mask is read")
        found: dict[str, Tensor] = load_file(path)
    except InputError:
        raise
    except Exception as error:  # SafetensorError, OSError, and what torch raises for kinds of numbers that it lacks
        raise InputError(f"{path} cannot be read as safetensors ({' '.join(str(error).split())[:160]})") from error
    if len(found) != 1 and "scores" not in found:
        raise InputError(f'{path} must hold one tensor, or one named "scores", got {sorted(found)[:5]}')
    tensor = found["scores"] if "scores" in found else next(iter(found.values()))
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
