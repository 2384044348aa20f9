"""Networks of Stable Diffusion 1.5's companions in their real sizes, with random weights: for measuring time and memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from segwright.presets import Preset
from segwright.weights import Networks

SEED = 0
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
}


def networks(dtype: torch.dtype, channels_last: bool = True, device: str = "cpu", fast: bool = False) -> Networks:
    """All of them, with random weights; ours keeps convolutions channels-last, as ``segwright.weights.load`` does.

    Args:
        fast: TAESD's encoder and greedy captions, as ``segwright.presets.faster``.
    """
    from segwright.models.captioner import Captioner
    from segwright.models.clip import Clip
    from segwright.models.diffusion import Diffusion
    from segwright.models.pixels import Pixels

    made = Networks(Preset("random", image_size=512, tiny=fast, beams=1 if fast else None), torch.device(device), dtype)
    with tempfile.TemporaryDirectory() as folder:
        texts, sentences = tokenizers(Path(folder))
    unet, vae, text_encoder, clip, blip = (ready(make, dtype).to(device) for make in makers(texts, sentences))
    for network in (unet, vae) if channels_last else ():
        network.to(memory_format=torch.channels_last)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    made.__dict__["diffusion"] = Diffusion(unet, vae, [text_encoder], [texts], schedule)
    made.__dict__["clip"] = Clip(clip, texts, Pixels(224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)))
    made.__dict__["captioner"] = Captioner(blip, sentences, Pixels(384, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)))
    if fast:
        made.__dict__["tiny_vae"] = ready(taesd, dtype).to(device, memory_format=torch.channels_last)
        made.diffusion.use_encoder(made.tiny_vae)
        made.captioner.beams = 1
    return made


def taesd() -> Any:
    """In TAESD's size, which is the class's own."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny()


def sd21(dtype: torch.dtype, device: str = "cpu", unet_size: dict[str, Any] | None = None) -> Networks:
    """Stable Diffusion 2.1 (768, v-prediction) and CLIP ViT-B/16 with random weights; no captioner.

    Args:
        unet_size: other sizes of the U-Net, for a quick trial of a script.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

    from segwright.models.clip import Clip
    from segwright.models.diffusion import Diffusion
    from segwright.models.pixels import Pixels

    made = Networks(Preset("random sd21", image_size=768), torch.device(device), dtype)
    with tempfile.TemporaryDirectory() as folder:
        texts, _ = tokenizers(Path(folder))
    ends = {"bos_token_id": texts.bos_token_id, "eos_token_id": texts.eos_token_id, "pad_token_id": texts.pad_token_id}
    large = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 23,
        "projection_dim": 512,
    }
    sizes: dict[str, Any] = {"attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True} | (unet_size or {})
    unet, vae, encoder, clip = (
        ready(make, dtype).to(device)
        for make in (
            lambda: UNet2DConditionModel(sample_size=96, cross_attention_dim=1024, **sizes),
            lambda: AutoencoderKL(**VAE),
            lambda: CLIPTextModel(CLIPTextConfig(**large, **ends)),
            lambda: CLIPModel(CLIPConfig(text_config=ends, vision_config={"patch_size": 16})),
        )
    )
    for network in (unet, vae):
        network.to(memory_format=torch.channels_last)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
    made.__dict__["diffusion"] = Diffusion(unet, vae, [encoder], [texts], schedule)
    made.__dict__["clip"] = Clip(clip, texts, Pixels(224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)))
    return made


def tokenizers(folder: Path) -> tuple[Any, Any]:
    """Small vocabularies of the real kinds; the embeddings have their real sizes all the same."""
    from segwright.mini.train.tokens import bert_tokenizer, clip_tokenizer

    return clip_tokenizer(folder / "clip"), bert_tokenizer(folder / "bert")


def makers(texts: Any, sentences: Any) -> list[Callable[[], Any]]:
    """U-Net, autoencoder and text encoder of SD 1.5, CLIP ViT-B/32, BLIP base."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

    ends = {"bos_token_id": texts.bos_token_id, "eos_token_id": texts.eos_token_id, "pad_token_id": texts.pad_token_id}
    large = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
    blip = {
        "num_attention_heads": 12,
        "bos_token_id": sentences.cls_token_id,
        "eos_token_id": sentences.sep_token_id,
        "sep_token_id": sentences.sep_token_id,
        "pad_token_id": sentences.pad_token_id,
    }
    return [
        lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        lambda: AutoencoderKL(**VAE),
        lambda: CLIPTextModel(CLIPTextConfig(**large, **ends)),
        lambda: CLIPModel(CLIPConfig(text_config=ends)),  # the other defaults are ViT-B/32's
        lambda: BlipForConditionalGeneration(BlipConfig(text_config=blip)),
    ]


def ready(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """One network from the same seed, whatever was made before it."""
    torch.manual_seed(SEED)
    return make().to(dtype).eval().requires_grad_(False)
