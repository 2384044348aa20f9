"""Photos to normalised pixel batches, as a model's ``preprocessor_config.json`` asks, in torch alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.types import Image, check_image

MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL's numbers for ways to resample


@dataclass(frozen=True)
class Pixels:
    """What a network wants to see.

    Attributes:
        side: height and width in pixels.
        mean: per channel, of values in 0..1.
        std: per channel, of values in 0..1.
        mode: torch's name of the resampling; always antialiased.
    """

    side: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    mode: str = "bicubic"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Pixels:
        """From the contents of a ``preprocessor_config.json``; a centre crop gives the side, but is never made.

        The whole frame is squeezed into the square instead: a region at the photo's rim must not be cut off.
        """
        size: Any = config.get("size", 224)
        if config.get("do_center_crop", "crop_size" in config):
            size = config.get("crop_size", size)
        if isinstance(size, Mapping):
            size = size.get("height", size.get("shortest_edge", 224))
        mean = tuple(float(v) for v in config.get("image_mean", cls.mean))
        std = tuple(float(v) for v in config.get("image_std", cls.std))
        return cls(int(size), mean, std, MODES.get(int(config.get("resample", 3)), "bicubic"))

    def __call__(
        self,
        images: Sequence[Image | Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        side: int | tuple[int, int] | None = None,
    ) -> Tensor:
        """(H, W, 3) uint8 arrays or (3, H, W) uint8 tensors of any sizes -> (B, 3, side, side), normalised; ``side`` may be
        (height, width)."""
        size = side or self.side
        batch = torch.cat([resize(as_tensor(image)[None].to(device), size, self.mode) for image in images])
        return self.normalise(batch.float() / 255).to(dtype)

    def unrounded(self, values: Tensor, side: int | None = None) -> Tensor:
        """(B, 3, H, W) in 0..1 -> (B, 3, side, side), normalised: for pictures that were made and never were of 256 levels."""
        size = side or self.side
        if tuple(values.shape[2:]) != (size, size):
            values = F.interpolate(values, (size, size), mode=self.mode, antialias=True, align_corners=False).clamp(0, 1)
        return self.normalise(values)

    def normalise(self, values: Tensor) -> Tensor:
        """(B, 3, S, S) in 0..1 -> the network's range."""
        mean, std = (torch.tensor(v, device=values.device).view(3, 1, 1) for v in (self.mean, self.std))
        return (values - mean) / std


def as_tensor(image: Image | Tensor) -> Tensor:
    """(3, H, W) uint8 of a photo, without a copy where that is possible.

    Raises:
        InputError: neither an (H, W, 3) uint8 array nor a (3, H, W) uint8 tensor.
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
            raise InputError(f"a photo as a tensor must be (3, H, W) uint8, got {image.dtype} {tuple(image.shape)}")
        return image
    array = check_image(image)
    return torch.from_numpy(array if array.flags.writeable else np.array(array)).permute(2, 0, 1)


def resize(images: Tensor, size: int | tuple[int, int], mode: str = "bicubic") -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, size, size) uint8, antialiased as PIL does, aspect not kept."""
    target = (size, size) if isinstance(size, int) else size
    if tuple(images.shape[2:]) == target:
        return images
    if not len(images):
        return images.new_zeros(0, 3, *target)
    if mode == "nearest":
        return F.interpolate(images, target, mode="nearest-exact")
    if images.device.type == "cpu":  # its uint8 path is several times faster than float
        return F.interpolate(images, target, mode=mode, antialias=True, align_corners=False)
    wide = F.interpolate(images.float(), target, mode=mode, antialias=True, align_corners=False)
    return wide.round().clamp(0, 255).to(torch.uint8)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, h, w) bool -> (K, H, W) bool, nearest."""
    if not len(masks):
        return torch.zeros(0, *size, dtype=torch.bool, device=masks.device)
    if tuple(masks.shape[1:]) == size:
        return masks.bool()
    return F.interpolate(masks[None].float(), size, mode="nearest-exact")[0].bool()
