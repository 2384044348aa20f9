"""CLIP: photos, masked photos and words as unit vectors in one space, and the image tower's patch features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.models.keys import key_map
from segwright.models.pixels import Pixels, as_tensor, resize, resize_masks
from segwright.types import Image

MEMORY = 32 * 2**20  # bytes of text vectors and their keys that are remembered, about
KEY = 400  # bytes that a remembered text takes beside its vector, about
FITS = ("squeeze", "crop")
WORK = 4  # a photo is first brought to at most this many times the network's side: masks cost as much as pixels


class Clip:
    """A frozen ``transformers.CLIPModel``. D is its projection size; every vector is float32 of unit length.

    Photos are squeezed to the network's square (ours: a region at the rim must stay in sight), or, with ``fit="crop"``, cut as
    CLIP's own processor does and with it the published FreeSeg-Diff. For square photos both are the same.
    """

    def __init__(self, model: Any, tokenizer: Any, pixels: Pixels) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.pixels = pixels
        self._texts: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with before a softmax (about 100)."""
        return float(self.model.logit_scale.detach().float().exp())

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image | Tensor], batch: int = 64, *, fit: str = "squeeze") -> Tensor:
        """Photos, (H, W, 3) uint8 of any sizes or (3, H, W) uint8 tensors -> (n, D).

        Args:
            fit: one of ``FITS``.

        Raises:
            InputError: something else among them, or an unknown fit.
        """
        check_fit(fit)
        shown = images if fit == "squeeze" else [self._cropped(as_tensor(image)[None])[0] for image in images]
        parts = [self._tower(self.pixels(shown[i : i + batch], self.device)) for i in range(0, len(shown), batch)]
        return torch.cat(parts) if parts else torch.empty(0, self.model.config.projection_dim, device=self.device)

    @torch.no_grad()
    def embed_masked(
        self,
        images: Sequence[Image | Tensor],
        masks: Sequence[Tensor],
        batch: int = 64,
        crop: bool = False,
        *,
        fit: str = "squeeze",
    ) -> list[Tensor]:
        """Every region of every photo, black outside (FreeSeg-Diff Sec. 3.1.3), all in one batch.

        Args:
            images: n photos.
            masks: for each photo (K, h, w) bool at any resolution; brought to the photo's by nearest neighbour.
            crop: show each region's bounding box, widened to a square (black beyond the photo), in place of the whole
                frame. Not in the paper.
            fit: one of ``FITS``, for the whole frame.

        Returns:
            n tensors (K, D).

        Raises:
            InputError: as many masks as photos are needed, each with three dimensions.
        """
        if len(images) != len(masks):
            raise InputError(f"{len(images)} photos need as many sets of masks, got {len(masks)}")
        check_fit(fit)
        small = [self._masked(image, mask, crop, fit) for image, mask in zip(images, masks, strict=True)]
        if not small:
            return []
        every = torch.cat(small)
        parts = [self._tower(self.pixels.normalise(every[i : i + batch].float() / 255)) for i in range(0, len(every), batch)]
        found = torch.cat(parts) if parts else torch.empty(0, self.model.config.projection_dim, device=self.device)
        return list(found.split([len(s) for s in small]))

    def _cropped(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) uint8 -> (n, 3, S, S): short side to S, then the middle, as CLIP's own processor does."""
        side = self.pixels.side
        height, width = images.shape[2:]
        short = min(height, width)
        size = (int(side * height / short), int(side * width / short))
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        return resize(images, size, self.pixels.mode)[:, :, top : top + side, left : left + side]

    def _masked(self, image: Image | Tensor, masks: Tensor, crop: bool, fit: str) -> Tensor:
        """(K, 3, S, S) uint8."""
        if masks.ndim != 3:
            raise InputError(f"masks of a photo must be (K, h, w), got {tuple(masks.shape)}")
        photo, side = as_tensor(image).to(self.device), self.pixels.side
        scale = min(1.0, WORK * side / max(photo.shape[1:]))
        if scale < 1:
            height, width = (max(1, round(v * scale)) for v in photo.shape[1:])
            photo = resize(photo[None], (height, width), self.pixels.mode)[0]
        inside = resize_masks(masks.to(self.device), (photo.shape[1], photo.shape[2]))
        if crop and len(inside):
            return torch.cat([resize(_square(photo * m, m)[None], side, self.pixels.mode) for m in inside])
        masked = photo[None] * inside[:, None]
        return resize(masked, side, self.pixels.mode) if fit == "squeeze" else self._cropped(masked)

    def _tower(self, pixels: Tensor) -> Tensor:
        found = self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)).pooler_output
        return F.normalize(found.float(), dim=-1)

    @torch.no_grad()
    def embed_texts(self, words: Sequence[str], templates: Sequence[str] = ("{}",), batch: int = 256) -> Tensor:
        """Words -> (n, D): the mean of the templates' unit vectors, brought to unit length again.

        Texts longer than the network's context (77 tokens for OpenAI's) are cut. The latest words are remembered, up to
        ``MEMORY`` bytes.

        Raises:
            InputError: no template, or one without "{}".
        """
        if not templates or any("{}" not in t for t in templates):
            raise InputError(f'every prompt template needs "{{}}" where the word goes, got {list(templates)}')
        key = tuple(templates)
        new = [w for w in dict.fromkeys(words) if (w, key) not in self._texts]
        prompts = [t.replace("{}", w) for w in new for t in key]
        parts = [self._texts_tower(prompts[i : i + batch]) for i in range(0, len(prompts), batch)]
        if parts:
            found = F.normalize(torch.cat(parts).view(len(new), len(key), -1).mean(1), dim=-1)
            self._texts.update({(w, key): vector.clone() for w, vector in zip(new, found, strict=True)})
        if not words:
            return torch.empty(0, self.model.config.projection_dim, device=self.device)
        rows = torch.stack([self._texts[w, key] for w in words])
        for word in dict.fromkeys(words):  # asked for again: the youngest, so that a vocabulary outlives passing combinations
            self._texts[word, key] = self._texts.pop((word, key))
        most = MEMORY // (KEY + rows.element_size() * rows.shape[1])
        while len(self._texts) > most:  # the oldest
            self._texts.pop(next(iter(self._texts)))
        return rows

    def _texts_tower(self, prompts: list[str]) -> Tensor:
        most = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=most, return_tensors="pt").to(self.device)
        found = self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return F.normalize(found.float(), dim=-1)

    @torch.no_grad()
    def patch_features(self, images: Sequence[Image | Tensor] | Tensor, layer: int = -1, side: int | None = None) -> Tensor:
        """Dense features of the image tower, the backbone CLIP-ViT of FreeSeg-Diff's Table 3.

        Args:
            images: photos of any sizes; or pictures that were made, (B, 3, H, W) floating point in 0..1.
            layer: -1 the last layer's patch tokens, -2 those before it (the paper: "last or penultimate").
            side: pixels, another than the network's own; positions are then interpolated.

        Returns:
            (B, C, h, w) float32, h = w = side / patch.

        Raises:
            InputError: a layer that is not there.
        """
        depth = self.model.config.vision_config.num_hidden_layers
        if not -depth <= layer <= -1:
            raise InputError(f"layer must be -1 (the last) .. {-depth}, got {layer}")
        if isinstance(images, Tensor):
            pixels = self.pixels.unrounded(images.to(self.device), side).to(self.model.dtype)
        else:
            pixels = self.pixels(images, self.device, self.model.dtype, side)
        out = self.model.vision_model(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=side is not None)
        tokens = out.hidden_states[layer][:, 1:].float()
        cells = pixels.shape[2] // self.model.config.vision_config.patch_size
        return tokens.transpose(1, 2).unflatten(2, (cells, cells)).contiguous()

    @torch.no_grad()
    def keys(self, images: Sequence[Image | Tensor], layer: int = -2, side: int | None = None) -> Tensor:
        """Keys of a layer's attention (OVDiff: the last but one); ``side`` and shape as ``patch_features``.

        Raises:
            InputError: a layer that is not there.
        """
        pixels = self.pixels(images, self.device, self.model.dtype, side)
        cells = pixels.shape[2] // self.model.config.vision_config.patch_size
        tower = self.model.vision_model
        return key_map(tower, layer, cells, lambda: tower(pixel_values=pixels, interpolate_pos_encoding=side is not None))


def check_fit(fit: str) -> None:
    """Raises:
    InputError: not one of ``FITS``.
    """
    if fit not in FITS:
        raise InputError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")


def _square(photo: Tensor, mask: Tensor) -> Tensor:
    """The smallest square around a mask (H, W), cut from (3, H, W) with black beyond its edges; all of it if the mask is empty."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return photo
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    side = max(bottom - top, right - left)
    high, wide = side - (bottom - top), side - (right - left)
    padded = F.pad(photo, (wide, wide, high, high))  # the box may lie at the rim: black goes on both sides, then it is centred
    y, x = top + high - high // 2, left + wide - wide // 2
    return padded[:, y : y + side, x : x + side]
