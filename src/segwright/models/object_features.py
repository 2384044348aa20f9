"""Features that tell things of one kind in a photo apart: one U-Net pass, before any word is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.models.diffusion import Diffusion, FeatureSettings
from segwright.types import Image, check_image

# Ours, chosen on training scenes of the second miniature world among self-attention, queries and residual blocks at resolutions
# 64, 32 and 16 (docs/howto/exports.md): the decoder at half the latent's side.
KIND, RESOLUTION, TIMESTEP, SIZE = "query", 32, 100, 32


def object_features(diffusion: Diffusion, image: Image, seed: int = 0) -> NDArray[Any]:
    """(C, 32, 32) float32 of an (H, W, 3) uint8 photo.

    Args:
        seed: of the noise.

    Raises:
        InputError: not a photo, or a U-Net without such layers.
    """
    settings = FeatureSettings(KIND, (RESOLUTION,), ("up",), TIMESTEP, SIZE)
    found = diffusion.features(diffusion.pixels([check_image(image)]), settings, seed=seed)
    return np.asarray(found[0].cpu().numpy())
