"""Text to pictures with attribution: guided sampling that sums up where each picture's layout came from.

The sampling loop is that of any latent diffusion pipeline; it is written out because maps of cross-attention have to be
taken from the conditional half of every step and thrown away at once. Schedulers are diffusers' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.errors import InputError
from segwright.models.attention import Recorder, attached
from segwright.models.diffusion import Diffusion, Embedding
from segwright.models.tokens import word_places

SIDE = 64  # cells of an attribution map: the published OVDiff's
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),  # as Stable Diffusion has it
    "lcm": ("LCMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),  # as SD-Turbo has it
}
NEGATIVE = "text, low quality, blurry, cartoon, meme, low resolution, bad, poor, faded"


@dataclass(frozen=True)
class SamplingSettings:
    """Defaults: the published OVDiff.

    Attributes:
        steps: denoising steps (OVDiff's published code: 30).
        guidance: classifier-free guidance scale (OVDiff's published code: 8); 1 or less: none, and half the work.
        negative: prompt of the unconditional half (OVDiff's published code).
        scheduler: "dpm++" (DPM-Solver++, multistep: OVDiff's published code), "unipc", "ddim", "pndm"; for few steps with
            distilled weights "lcm" or "euler".
    """

    steps: int = 30
    guidance: float = 8.0
    negative: str = NEGATIVE
    scheduler: str = "dpm++"

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise InputError(f"scheduler must be one of {', '.join(SCHEDULERS)}, got {self.scheduler!r}")
        if not 1 <= self.steps <= 1000:
            raise InputError(f"steps must lie in 1..1000, got {self.steps}")
        if not 0 <= self.guidance <= 100:
            raise InputError(f"guidance must lie in 0..100, got {self.guidance}")


class Attribution:
    """Cross-attention of one word's tokens, summed over layers and steps as it is seen (OVDiff Sec. 3.3, DAAM).

    Each map, a mean over heads, is brought to ``SIDE`` cells (bicubic, cut at 0: published code) and added; nothing else
    is kept, so memory does not grow with steps or layers.
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.places = list(places)
        self.total: Tensor | None = None

    def add(self, weights: Tensor) -> None:
        """(B, cells, tokens) probabilities of one layer in one step."""
        maps = weights[..., self.places].transpose(1, 2).float()
        side = round(maps.shape[2] ** 0.5)
        wide = F.interpolate(maps.unflatten(2, (side, side)), (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(min=0)
        self.total = wide.mean(1) if self.total is None else self.total.add_(wide.mean(1))

    @property
    def maps(self) -> Tensor:
        """(B, SIDE, SIDE) float32, each picture's stretched to 0..1."""
        if self.total is None:
            raise RuntimeError("no attention has been seen")
        low, high = self.total.amin((1, 2), keepdim=True), self.total.amax((1, 2), keepdim=True)
        return (self.total - low) / (high - low).clamp(min=1e-12)


@torch.no_grad()
def sample(
    diffusion: Diffusion,
    prompt: str,
    seeds: Sequence[int],
    settings: SamplingSettings | None = None,
    word: str | None = None,
    *,
    on_step: Callable[[], object] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Pictures of one prompt, one a seed, in one batch.

    Args:
        word: as it stands in the prompt; where it is in each picture then follows from cross-attention.
        on_step: called after each step.

    Returns:
        (B, 3, S, S) float32 pictures in 0..1, and (B, 64, 64) float32 attribution maps in 0..1, or None without a word.

    Raises:
        InputError: the word is not in the prompt, or beyond the tokens that the text encoder reads.
    """
    settings = settings or SamplingSettings()
    guided = settings.guidance > 1
    attribution = None if word is None else Attribution(places(diffusion, prompt, word))
    embedding = _embedding(diffusion, prompt, settings.negative if guided else None, len(seeds))
    scheduler = make_scheduler(diffusion, settings)
    latents = _start(diffusion, seeds) * float(scheduler.init_noise_sigma)
    rows = slice(len(seeds), None) if guided else None
    recorders = {} if attribution is None else {m: Recorder(attribution.add, rows) for m in cross_attentions(diffusion.unet)}
    generator = torch.Generator().manual_seed(int(seeds[0]))  # for schedulers that add noise in between
    with attached(recorders) if recorders else nullcontext():
        for t in scheduler.timesteps:
            given = scheduler.scale_model_input(latents, t)
            output = diffusion.predict(torch.cat([given, given]) if guided else given, int(t), embedding)
            if guided:
                without, with_prompt = output.chunk(2)
                output = without + settings.guidance * (with_prompt - without)
            extra = {"generator": generator} if settings.scheduler == "lcm" else {}
            latents = scheduler.step(output, t, latents, **extra).prev_sample.to(diffusion.dtype)
            if on_step is not None:
                on_step()
    pictures = torch.cat([diffusion.decode(one) for one in latents.split(1)])  # the decoder needs more memory than the U-Net
    return pictures, None if attribution is None else attribution.maps


def places(diffusion: Diffusion, prompt: str, word: str) -> tuple[int, ...]:
    """Where the word's tokens stand in the prompt.

    Raises:
        InputError: it is not in the prompt, or beyond the tokens that the text encoder reads.
    """
    found = word_places(diffusion.tokenizers[0], prompt, word)
    length = int(diffusion.text_encoders[0].config.max_position_embeddings)
    if not found or found[-1] >= length - 1:
        raise InputError(f"{word!r} does not fit into the {length} tokens that the text encoder reads; use a shorter word")
    return found


def cross_attentions(unet: Any) -> list[nn.Module]:
    """Every cross-attention layer of a U-Net."""
    return [module for name, module in unet.named_modules() if name.endswith(".attn2")]


def make_scheduler(diffusion: Diffusion, settings: SamplingSettings) -> Any:
    """diffusers' scheduler with the model's own noise schedule, its timesteps set."""
    import diffusers

    kind, extra = SCHEDULERS[settings.scheduler]
    known = {k: v for k, v in diffusion.scheduler_config.items() if not k.startswith("_")}
    scheduler = getattr(diffusers, kind).from_config(known, **extra)
    scheduler.set_timesteps(settings.steps, device=diffusion.device)
    return scheduler


def _embedding(diffusion: Diffusion, prompt: str, negative: str | None, count: int) -> Embedding:
    """The negative prompt's rows first, where there is one."""
    made = diffusion.embed([prompt] if negative is None else [negative, prompt])
    pooled = None if made.pooled is None else made.pooled.repeat_interleave(count, 0)
    return Embedding(made.tokens.repeat_interleave(count, 0), pooled)


def _start(diffusion: Diffusion, seeds: Sequence[int]) -> Tensor:
    """(B, C, h, w) noise, one generator a picture, drawn on the CPU so that every device gets the same."""
    side = diffusion.image_size // diffusion.cell
    shape = (1, int(diffusion.unet.config.in_channels), side, side)
    drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.cat(drawn).to(diffusion.device, diffusion.dtype)
