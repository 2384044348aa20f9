"""Inner features of the autoencoder, the way ODISE takes them beside the U-Net's (Xu et al. 2023; Table 1's VQGAN)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.models.diffusion import Diffusion


@torch.no_grad()
def vae_features(diffusion: Diffusion, images: Tensor, size: int) -> list[Tensor]:
    """What the encoder's last two and the decoder's first two blocks give for a photo and its own reconstruction.

    ODISE takes two layers of each; the choice of these is ours.

    Args:
        images: (B, 3, S, S) in 0..1.

    Returns:
        four (B, C, size, size) float32, resized bilinearly.
    """
    vae, kept = diffusion.vae, []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        kept.append(F.interpolate(output.float(), (size, size), mode="bilinear", align_corners=False))

    blocks = [*vae.encoder.down_blocks[-2:], *vae.decoder.up_blocks[:2]]
    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        diffusion.decode(diffusion.encode(images))
    finally:
        for handle in handles:
            handle.remove()
    return kept
