"""Fully connected CRF: pixels of like colour and near position are drawn to one label.

Kraehenbuehl and Koltun 2011, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials": Potts
compatibility, the two kernels of Eq. 3, mean field as in Algorithm 1, its message passing on a permutohedral
lattice. Normalisation, clipping and the like follow pydensecrf, with which labels agree; no compiled code is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from segwright.errors import InputError
from segwright.refine.base import Refiner, check_count, check_pair, check_pairs
from segwright.refine.lattice import Filter, Lattice, build
from segwright.types import Image, Scores
from segwright.weights import Networks

CHUNK = 1 << 14  # pixels updated at a time, so that their messages stay in the cache
CLIP = 1e-5  # pydensecrf.utils.unary_from_softmax: probabilities below this count as this
LANES = 8  # rows of a multiple of 8 floats keep the vector units full: 24 labels take less time than 21


@dataclass(frozen=True)
class CRFSettings:
    """Constants of one dense CRF. The defaults are DeepLab's.

    Attributes:
        iterations: of mean field, >= 1 (DeepLab: 10).
        gaussian_sxy: standard deviation in pixels of the position kernel, > 0 (DeepLab: 3).
        gaussian_compat: its weight (Potts), > 0 (DeepLab: 3).
        bilateral_sxy: standard deviation in pixels of the position-and-colour kernel, > 0 (DeepLab: 80).
        bilateral_srgb: its standard deviation in colour levels of 0..255, > 0 (DeepLab: 13).
        bilateral_compat: its weight (Potts), > 0 (DeepLab: 10).
        gt_prob: None takes the scores as they are (DeepLab: a network's own); a probability in 0..1 takes each pixel's
            strongest label, and trusts it that much (pydensecrf.utils.unary_from_labels).

    Raises:
        InputError: a constant outside its range.
    """

    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_compat: float = 10.0
    gt_prob: float | None = None

    def __post_init__(self) -> None:
        check_count("iterations", self.iterations)
        for item in fields(self)[1:6]:
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise InputError(f"{item.name} must be a positive number, got {value!r}; the default is {item.default}")
        if self.gt_prob is not None and not (isinstance(self.gt_prob, float) and 0 < self.gt_prob < 1):
            raise InputError(f"gt_prob must be None or lie between 0 and 1, got {self.gt_prob!r}; 0.9 is usual")


CRF_CONSTANTS: dict[str, CRFSettings] = {
    # Chen et al., DeepLab's lineage; so too the published code of the PAMR paper (Araslanov and Roth 2020).
    "deeplab": CRFSettings(10, 3.0, 3.0, 80.0, 13.0, 10.0),
    # Lin et al. 2023, "CLIP is Also an Efficient Segmenter": constants of the published code.
    "clip-es": CRFSettings(10, 1.0, 3.0, 67.0, 3.0, 4.0),
    # Wang et al. 2023, "Cut and Learn for Unsupervised Object Detection" (CutLER): constants of the published code.
    "cutler": CRFSettings(10, 3.0, 7.0, 50.0, 5.0, 10.0),
    # Corradini et al. 2024, "FreeSeg-Diff": constants of the published code, there for one binary mask at a time.
    "freeseg-diff": CRFSettings(10, 20.0, 5.0, 20.0, 20.0, 100.0, gt_prob=0.9),
}


@dataclass(frozen=True)
class CRF(CRFSettings, Refiner):
    """``crf``, or with ``binary`` ``crf_binary``, as a refiner.

    Attributes:
        binary: each label by itself against all the rest, as FreeSeg-Diff's published code does; needs ``gt_prob``.
    """

    binary: bool = False
    name: ClassVar = "crf"

    @classmethod
    def of(cls, constants: str, binary: bool = False) -> Self:
        """With the constants of that name in ``CRF_CONSTANTS``.

        Raises:
            InputError: there are none.
        """
        return cls(**vars(_constants(constants)), binary=binary)

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        if self.binary:
            return crf_binary(image, scores, settings=self)
        return crf_batch([image], [scores], settings=self)[0]


def crf(
    image: Image,
    scores: Scores,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 80.0,
    bilateral_srgb: float = 13.0,
    bilateral_compat: float = 10.0,
    gt_prob: float | None = None,
    settings: CRFSettings | str | None = None,
) -> Scores:
    """Refine scores with a fully connected CRF over the labels that have scores.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (M, H, W), the photo's size, on the device where the work is done. Not modified.
        iterations: see ``CRFSettings``.
        gaussian_sxy: see ``CRFSettings``.
        gaussian_compat: see ``CRFSettings``.
        bilateral_sxy: see ``CRFSettings``.
        bilateral_srgb: see ``CRFSettings``.
        bilateral_compat: see ``CRFSettings``.
        gt_prob: see ``CRFSettings``.
        settings: a ``CRFSettings``, or the name of one in ``CRF_CONSTANTS``, in place of all the other keywords.

    Returns:
        Scores of the same words and labels: the mean field's marginals, summing to 1.

    Raises:
        InputError: image and scores differ in size, or a setting cannot be used.
    """
    gaussian = gaussian_sxy, gaussian_compat
    bilateral = bilateral_sxy, bilateral_srgb, bilateral_compat
    given = CRFSettings(iterations, *gaussian, *bilateral, gt_prob)
    if settings is not None and given != CRFSettings():
        raise InputError("settings stand for all other constants, got both; give settings or single keywords")
    return crf_batch([image], [scores], settings=given if settings is None else settings)[0]


def crf_batch(
    images: Sequence[Image],
    scores: Sequence[Scores],
    *,
    settings: CRFSettings | str = "deeplab",
) -> list[Scores]:
    """``crf`` of many photos, with the same results; photos of one size share their position kernel.

    Raises:
        InputError: as ``crf``; or the lists differ in length.
    """
    constants = _constants(settings)
    pairs = check_pairs(images, scores)
    kernels = _Kernels(constants)
    return [replace(item, values=_refine(photo, item.values.detach(), kernels), totals=None) for photo, item in pairs]


def crf_filter(image: Image, device: torch.device, *, settings: CRFSettings | str = "freeseg-diff") -> Filter:
    """The sum of both kernels (Eq. 3) on a photo, ready to be applied; no score changes it, so it may be kept.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    return _Kernels(_constants(settings))(image, device)


def crf_binary(
    image: Image, scores: Scores, *, settings: CRFSettings | str = "freeseg-diff", kernel: Filter | None = None
) -> Scores:
    """Refine each label's mask by itself, against all the rest, as FreeSeg-Diff's published code does.

    Each label but background gives a binary mask (where it is strongest) and a two-label CRF. A pixel then goes to
    the label of highest foreground probability if that exceeds 0.5, else to background: the scores returned are
    those foreground probabilities, and one minus the highest of them for background, divided by their sum.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (M, H, W), the photo's size. Not modified.
        settings: a ``CRFSettings``, or the name of one in ``CRF_CONSTANTS``; gt_prob must be set.
        kernel: what ``crf_filter`` made of the same photo with the same settings; None: it is made here, and takes half the time.

    Raises:
        InputError: as ``crf``; or the settings have no gt_prob; or the kernel is of a photo of another size.
    """
    constants = _constants(settings)
    if constants.gt_prob is None:
        raise InputError("crf_binary refines hard masks and needs gt_prob, got None; 0.9 is usual")
    check_pair(image, scores)
    count, height, width = scores.values.shape
    if count == 1:
        return replace(scores, values=torch.ones_like(scores.values), totals=None)
    masks = _one_hot(scores.values.detach())[:, 1:]
    # A two-label CRF needs one number a pixel, the log odds; Potts messages to them are K (q - (1 - q)).
    odds = math.log(constants.gt_prob / (1 - constants.gt_prob)) * (2 * masks - 1)
    odds = _to_lanes(odds, 0.0)
    kernel = crf_filter(image, scores.values.device, settings=constants) if kernel is None else kernel
    if len(kernel.reads) != height * width:
        raise InputError(f"the kernel must be the photo's own, got one of {len(kernel.reads)} pixels for {height * width}")
    inside = odds.sigmoid()
    for _ in range(constants.iterations):
        inside = kernel(inside.mul_(2).sub_(1)).add_(odds).sigmoid_()
    found = inside[:, : count - 1]
    rows = torch.cat([1 - found.amax(1, keepdim=True), found], 1)
    rows /= rows.sum(1, keepdim=True)
    return replace(scores, values=rows.t().reshape(count, height, width).contiguous(), totals=None)


def _refine(image: Image, values: Tensor, kernels: _Kernels) -> Tensor:
    """(M, H, W) probabilities -> (M, H, W), by mean field (Algorithm 1)."""
    count, height, width = values.shape
    if count == 1:
        return torch.ones_like(values)
    kernel = kernels(image, values.device)
    unary = _log_unary(values, kernels.settings.gt_prob)
    found = unary.softmax(1)
    parts = [slice(start, start + CHUNK) for start in range(0, len(found), CHUNK)]
    for _ in range(kernels.settings.iterations):
        spread = kernel.spread(found)
        for part in parts:
            torch.softmax(kernel.read(spread, part).add_(unary[part]), 1, out=found[part])
    return found[:, :count].t().reshape(count, height, width).contiguous()


def _log_unary(values: Tensor, gt_prob: float | None) -> Tensor:
    """(M, H, W) probabilities -> (P, M up to a multiple of 8) log probabilities, -inf where no label is."""
    if gt_prob is None:
        logs = values.flatten(1).t().clamp(CLIP, 1).log_()
    else:
        rest = math.log((1 - gt_prob) / (len(values) - 1))
        logs = _one_hot(values).mul_(math.log(gt_prob) - rest).add_(rest)
    return _to_lanes(logs, -math.inf)


def _one_hot(values: Tensor) -> Tensor:
    """(M, H, W) -> (P, M), 1 at each pixel's strongest label."""
    strongest = values.argmax(0).reshape(-1, 1)
    return values.new_zeros(len(strongest), len(values)).scatter_(1, strongest, 1.0)


def _to_lanes(rows: Tensor, filler: float) -> Tensor:
    """(P, M) -> (P, M up to a multiple of 8), contiguous."""
    return pad(rows, (0, -rows.shape[1] % LANES), value=filler).contiguous()


def _constants(settings: CRFSettings | str) -> CRFSettings:
    """The settings, or those of that name."""
    found = CRF_CONSTANTS.get(settings) if isinstance(settings, str) else settings
    if not isinstance(found, CRFSettings):
        raise InputError(f"settings must be CRFSettings or one of {', '.join(CRF_CONSTANTS)}, got {settings!r}")
    return found


class _Kernels:
    """Makes the filter of a photo (Eq. 3); keeps the last position lattice, which depends on the size alone."""

    def __init__(self, settings: CRFSettings) -> None:
        self.settings = settings
        self._last: tuple[tuple[int, int, torch.device], Lattice] | None = None

    def __call__(self, image: Image, device: torch.device) -> Filter:
        """The sum of the Gaussian and the bilateral kernel, normalised and weighted."""
        wanted = self.settings
        height, width = image.shape[:2]
        key = (height, width, device)
        if self._last is None or self._last[0] != key:
            self._last = key, build(_position(height, width, wanted.gaussian_sxy, device))
        colour = torch.from_numpy(image.copy()).to(device).flatten(0, 1).t().float() / wanted.bilateral_srgb
        both = torch.cat([_position(height, width, wanted.bilateral_sxy, device), colour])
        return Filter([(self._last[1], wanted.gaussian_compat), (build(both), wanted.bilateral_compat)])


def _position(height: int, width: int, deviation: float, device: torch.device) -> Tensor:
    """(2, H * W) float32: x and y in units of the deviation."""
    y = torch.arange(height, dtype=torch.float32, device=device) / deviation
    x = torch.arange(width, dtype=torch.float32, device=device) / deviation
    return torch.stack([x.repeat(height), y.repeat_interleave(width)])
