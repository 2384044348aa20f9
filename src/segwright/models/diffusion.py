"""Stable Diffusion, frozen: latents, text embeddings, one prediction, and the U-Net's inner features of real photos.

Thin over diffusers' AutoencoderKL and UNet2DConditionModel and transformers' text encoders; the shapes of SD 1.x, 2.1,
XL and LCM. Weights need no gradients, but gradients pass through ``predict`` and ``decode`` to latents and embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.errors import InputError, WeightsError
from segwright.models.attention import Recorder, attached
from segwright.models.pixels import Pixels
from segwright.models.sites import Site, check_settings, find_sites
from segwright.types import Image

LCM_GUIDANCE = 8.0  # the scale that latent consistency models are shown with (Luo et al. 2023, Sec. 5.1)
BATCH = 4  # photos a U-Net pass; a 512-pixel photo takes about 1 GB in float32


@dataclass(frozen=True)
class FeatureSettings:
    """What ``Diffusion.features`` takes from the U-Net. Defaults: FreeSeg-Diff, Secs. 3.1.2 and 4.1, Table 6.

    Attributes:
        kind: "resblock" (the paper's F: outputs of the residual blocks), "query" (the published implementation:
            queries of cross-attention), "attention" (A: self-attention, each cell's row of probabilities, mean over
            heads; the paper does not say which attention, and with an empty prompt only this one tells places apart),
            "cross" (cross-attention, one map a token, mean over heads), or several joined by "+" ("resblock+attention"
            is the paper's A+F). Joined parts are each centred and scaled to unit variance per photo, so that they weigh the same.
        resolutions: in cells of a 64x64 latent, any of 64, 32, 16, 8; 16 (Sec. 4.4, Table 6) means a quarter of the latent's side.
        layers: any of "down", "mid", "up". The paper takes encoder and decoder.
        timestep: 0 .. 999 (Sec. 4.1: 0).
        size: cells a side of the result (Sec. 4.1: 32).
        noise: noise the latents to ``timestep``, at 0 too, as the published implementation does; else they stay clean.
        early_stop: leave the U-Net as soon as the last wanted layer is done (ours: it saves time and changes no bit of the result).
        blocks: only layers in these modules, as "up_blocks.1.attentions.0"; those that a U-Net lacks are passed over.
            Empty: all that the above allow, as in the paper.
    """

    kind: str = "resblock"
    resolutions: tuple[int, ...] = (16,)
    layers: tuple[str, ...] = ("down", "up")
    timestep: int = 0
    size: int = 32
    noise: bool = True
    early_stop: bool = True
    blocks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self.kind, self.resolutions, self.layers)
        if not 0 <= self.timestep <= 999 or self.size < 1:
            raise InputError(f"timestep must lie in 0..999 and size be 1 or more, got {self.timestep} and {self.size}")


@dataclass(frozen=True)
class Embedding:
    """Prompts as the U-Net reads them: tokens (B, L, D), and pooled (B, P) for XL."""

    tokens: Tensor
    pooled: Tensor | None = None


class Diffusion:
    """The parts of a Stable Diffusion folder, all frozen.

    Attributes:
        image_size: side in pixels that the model was trained for.
        cell: pixels a latent cell.
        alphas: (1000,) float32, cumulated products of the noise schedule, on the device.
        prediction: "epsilon" or "v_prediction", from the scheduler's config.
        tiny: encodes photos in place of the VAE, if it is not None.
        scheduler_config: that config, for building samplers.
    """

    def __init__(
        self, unet: Any, vae: Any, text_encoders: Sequence[Any], tokenizers: Sequence[Any], scheduler_config: Mapping[str, Any]
    ) -> None:
        self.unet, self.vae = unet, vae
        self.text_encoders, self.tokenizers = tuple(text_encoders), tuple(tokenizers)
        self.scheduler_config = dict(scheduler_config)
        self.cell = 2 ** (len(vae.config.block_out_channels) - 1)
        self.image_size = int(unet.config.sample_size) * self.cell
        self.prediction = str(scheduler_config.get("prediction_type", "epsilon"))
        self.alphas = noise_schedule(scheduler_config).to(self.device)
        self.tiny: Any = None
        self._sites = find_sites(unet)
        self._embedded: dict[tuple[str, ...], Embedding] = {}

    def use_encoder(self, tiny: Any) -> None:
        """Encode photos with a diffusers ``AutoencoderTiny`` of the same latents, which it gives scaled; the VAE still decodes.

        Raises:
            WeightsError: its latents have another shape.
        """
        cell = 2 ** (len(tiny.config.encoder_block_out_channels) - 1)
        if (cell, tiny.config.latent_channels) != (self.cell, self.vae.config.latent_channels):
            raise WeightsError(
                f"the tiny encoder has {tiny.config.latent_channels} channels and cells of {cell} pixels, "
                f"the VAE {self.vae.config.latent_channels} and {self.cell}; they are no pair"
            )
        self.tiny = tiny

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def pixels(self, images: Sequence[Image | Tensor]) -> Tensor:
        """(H, W, 3) uint8 photos of any sizes -> (B, 3, S, S) float32 in 0..1, squeezed to ``image_size``, on the device."""
        return Pixels(self.image_size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(images, self.device)

    @torch.no_grad()
    def encode(self, images: Tensor, seed: int | None = None) -> Tensor:
        """Photos (B, 3, S, S) in 0..1 -> scaled latents (B, 4, S / cell, S / cell) in the U-Net's dtype.

        Args:
            seed: None takes the mean; a number a sample, the same noise for every photo. A tiny encoder knows the mean alone.

        Raises:
            InputError: a side that is no multiple of ``cell``.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % self.cell or images.shape[3] % self.cell:
            raise InputError(f"photos must be (B, 3, H, W) with sides in multiples of {self.cell}, got {tuple(images.shape)}")
        if self.tiny is not None:
            latents = self.tiny.encode((images * 2 - 1).to(self.device, self.tiny.dtype)).latents
            return (latents * self.tiny.config.scaling_factor).to(self.dtype)
        spread = self.vae.encode((images * 2 - 1).to(self.device, self.vae.dtype)).latent_dist
        latents = spread.mean if seed is None else spread.mean + spread.std * self._gauss(spread.mean, seed)
        shift = self.vae.config.get("shift_factor") or 0.0
        return ((latents - shift) * self.vae.config.scaling_factor).to(self.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, 4, h, w) -> pictures (B, 3, H, W) float32 in 0..1."""
        shift = self.vae.config.get("shift_factor") or 0.0
        raw = (latents / self.vae.config.scaling_factor + shift).to(self.vae.dtype)
        return (self.vae.decode(raw).sample.float() / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Embedding:
        """Prompts, cut at the encoder's context (77 tokens); XL joins both encoders' last layer but one."""
        outs = []
        for tokenizer, encoder in zip(self.tokenizers, self.text_encoders, strict=True):
            length = encoder.config.max_position_embeddings
            tokens = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            outs.append(encoder(tokens.input_ids.to(self.device), output_hidden_states=len(self.text_encoders) > 1))
        if len(outs) == 1:
            return Embedding(outs[0].last_hidden_state.to(self.dtype))
        joined = torch.cat([o.hidden_states[-2] for o in outs], -1)
        return Embedding(joined.to(self.dtype), outs[-1].text_embeds.to(self.dtype))

    def noise(self, latents: Tensor, timestep: int, seed: int = 0) -> Tensor:
        """Latents noised to ``timestep`` (0 .. 999), the same noise for every photo of the batch."""
        alpha = self.alphas[timestep]
        noised = alpha.sqrt() * latents.float() + (1 - alpha).sqrt() * self._gauss(latents, seed)
        return noised.to(latents.dtype)

    def predict(self, latents: Tensor, timestep: int, embedding: Embedding, residuals: Mapping[str, Any] | None = None) -> Tensor:
        """The U-Net's raw output, (B, 4, h, w): noise or velocity, as ``prediction`` says.

        Args:
            residuals: what a ControlNet adds inside (``segwright.models.controlnet``).
        """
        extra = self.conditions(latents, embedding) | dict(residuals or {})
        return self.unet(latents, timestep, embedding.tokens, return_dict=False, **extra)[0]

    def conditions(self, latents: Tensor, embedding: Embedding) -> dict[str, Any]:
        """What some U-Nets want besides time and text: sizes and pooled text (XL), the guidance scale (LCM)."""
        extra: dict[str, Any] = {}
        if self.unet.config.get("addition_embed_type") == "text_time":
            side = [latents.shape[2] * self.cell, latents.shape[3] * self.cell]
            ids = torch.tensor([*side, 0, 0, *side], device=self.device, dtype=self.dtype)  # size, crop, target size
            extra["added_cond_kwargs"] = {"text_embeds": embedding.pooled, "time_ids": ids.expand(len(latents), -1)}
        width = self.unet.config.get("time_cond_proj_dim")
        if width is not None:
            scale = guidance_embedding(LCM_GUIDANCE, int(width)).to(self.device, self.dtype)
            extra["timestep_cond"] = scale.expand(len(latents), -1)
        return extra

    def clean(self, latents: Tensor, timestep: int, output: Tensor) -> Tensor:
        """The one-step estimate of the clean latents from ``predict``'s output (G4Seg Eq. 2), for either prediction."""
        alpha = self.alphas[timestep]
        if self.prediction == "v_prediction":
            return alpha.sqrt() * latents - (1 - alpha).sqrt() * output
        return (latents - (1 - alpha).sqrt() * output) / alpha.sqrt()

    @torch.no_grad()
    def features(
        self,
        images: Tensor,
        settings: FeatureSettings | None = None,
        prompts: Sequence[str] | None = None,
        seed: int = 0,
        batch: int = BATCH,
    ) -> Tensor:
        """Inner features of photos from one pass a photo.

        Args:
            images: (B, 3, S, S) in 0..1; ``pixels`` makes them.
            prompts: one a photo; empty ones if None.
            seed: of the noise; a photo's features do not depend on the photos beside it.

        Returns:
            (B, C, size, size) float32 on the device: each layer resized bilinearly, then joined.

        Raises:
            InputError: settings that this U-Net has no layer for, or a wrong number of prompts.
        """
        settings = settings or FeatureSettings()
        if prompts is not None and len(prompts) != len(images):
            raise InputError(f"{len(images)} photos need as many prompts, got {len(prompts)}")
        if images.ndim != 4 or images.shape[2] != images.shape[3]:
            raise InputError(f"features are taken from square photos (B, 3, S, S), got {tuple(images.shape)}")
        groups = [self.sites(settings, kind) for kind in settings.kind.split("+")]
        parts = []
        for i in range(0, len(images), batch):
            latents = self.encode(images[i : i + batch])
            noised = self.noise(latents, settings.timestep, seed) if settings.noise else latents
            embedding = self._conditions(None if prompts is None else prompts[i : i + batch], len(latents))
            maps = self.maps(noised, embedding, settings)
            joined = [torch.cat([maps[s] for s in group], 1) for group in groups]
            parts.append(torch.cat([_balanced(j) for j in joined], 1) if len(joined) > 1 else joined[0])
        return torch.cat(parts)

    def sites(self, settings: FeatureSettings, kind: str | None = None) -> list[Site]:
        """The layers that ``settings`` mean here, in the order of the pass.

        Raises:
            InputError: there is none.
        """
        wanted = (kind or settings.kind).split("+")
        found = [s for s in self._sites if s.kind in wanted and s.resolution in settings.resolutions and s.layer in settings.layers]
        if settings.blocks:
            return _inside(found, settings.blocks)
        missing = set(settings.resolutions) - {s.resolution for s in found}
        if missing:
            here = sorted({s.resolution for s in self._sites if s.kind in wanted and s.layer in settings.layers}, reverse=True)
            raise InputError(
                f"this U-Net has no {'+'.join(wanted)} features at resolution {sorted(missing)} in its "
                f"{'+'.join(settings.layers)} layers, only at {here}"
            )
        return found

    def source(self, settings: FeatureSettings | None = None) -> str:
        """What the features are, for people: "resblock features at t=0, resolution 16 (down, up), as 32x32 cells"."""
        s = settings or FeatureSettings()
        where = "+".join(str(r) for r in s.resolutions)
        return f"{s.kind} features at t={s.timestep}, resolution {where} ({', '.join(s.layers)}), as {s.size}x{s.size} cells"

    def maps(self, latents: Tensor, embedding: Embedding, settings: FeatureSettings) -> dict[Site, Tensor]:
        """Each wanted layer's map in one pass over latents as they are, (B, C, size, size) float32; nothing stays attached."""
        maps: dict[Site, Tensor] = {}
        sites = [site for kind in settings.kind.split("+") for site in self.sites(settings, kind)]
        last = max(sites, key=lambda s: s.order)

        def take(site: Site, value: Tensor) -> None:
            square = value.float() if site.kind == "resblock" else _as_map(value.float())
            target = (settings.size, settings.size)
            maps[site] = F.interpolate(square, target, mode="bilinear", align_corners=False)
            if settings.early_stop and site is last:
                raise _Done

        with ExitStack() as stack:
            recorders: dict[nn.Module, Recorder] = {}
            for site in sites:
                if site.kind in ("attention", "cross"):
                    recorders[site.module] = Recorder(on_map=partial(take, site))
                else:
                    stack.callback(site.module.register_forward_hook(partial(_pass_on, take, site)).remove)
            stack.enter_context(attached(recorders))
            with suppress(_Done):
                self.predict(latents, settings.timestep, embedding)
        return maps

    def _conditions(self, prompts: Sequence[str] | None, count: int) -> Embedding:
        """The prompts' embedding; the empty prompt's is made once."""
        if prompts is not None:
            return self.embed(prompts)
        if ("",) not in self._embedded:
            self._embedded[("",)] = self.embed([""])
        empty = self._embedded[("",)]
        pooled = None if empty.pooled is None else empty.pooled.expand(count, -1)
        return Embedding(empty.tokens.expand(count, -1, -1), pooled)

    def _gauss(self, like: Tensor, seed: int) -> Tensor:
        """(1, C, h, w) float32 noise, drawn on the CPU so that every device gets the same."""
        shape = (1, *like.shape[1:])
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like.device)


class _Done(Exception):  # noqa: N818 - not an error: it leaves the U-Net from inside a hook
    """The last wanted layer has been seen."""


def _pass_on(take: Callable[[Site, Tensor], None], site: Site, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    """A forward hook."""
    take(site, output)


def _as_map(tokens: Tensor) -> Tensor:
    """(B, h * w, C) -> (B, C, h, w), h = w."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def _balanced(features: Tensor) -> Tensor:
    """Each photo's features centred and scaled to a total variance of 1 a cell."""
    centred = features - features.mean((2, 3), keepdim=True)
    spread = centred.square().sum(1).mean((1, 2)).sqrt().clamp(min=1e-12)
    return centred / spread.view(-1, 1, 1, 1)


def _inside(sites: list[Site], blocks: Sequence[str]) -> list[Site]:
    found = [s for s in sites if any(s.name == b or s.name.startswith(f"{b}.") for b in blocks)]
    if not found:
        here = ", ".join(s.name for s in sites) or "none"
        raise InputError(f"this U-Net has none of the blocks {', '.join(blocks)}; it has {here}")
    return found


def guidance_embedding(scale: float, width: int) -> Tensor:
    """(1, width) float32: the guidance scale, less 1 and times 1000, as sines and cosines; as LCM's U-Nets take it."""
    half = width // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10000.0) / (half - 1)))
    angles = (scale - 1) * 1000 * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()]), (0, width % 2))[None]


def noise_schedule(config: Mapping[str, Any]) -> Tensor:
    """Cumulated alphas, (steps,) float32, of a scheduler's config: linear and scaled-linear betas.

    Raises:
        InputError: another schedule.
    """
    steps, kind = int(config.get("num_train_timesteps", 1000)), config.get("beta_schedule", "linear")
    low, high = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    if kind == "scaled_linear":
        betas = torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64) ** 2
    elif kind == "linear":
        betas = torch.linspace(low, high, steps, dtype=torch.float64)
    else:
        raise InputError(f"noise schedule {kind!r} is not supported, only linear and scaled_linear")
    return (1 - betas).cumprod(0).float()
