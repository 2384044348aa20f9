"""Every floating tensor of a loaded network is one of its file, and a file that lacks one is refused by the tensor's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real_size
import tiny
import torch
from hub_fixtures import OLD_VAE, blip, read, renamed, with_position_ids
from safetensors.torch import load_file, save_file

from segwright.errors import WeightsError
from segwright.models.opening import OPENERS, open_diffusers
from segwright.presets import CAPTIONERS, CLIPS, DIFFUSION, DINO, FEW_STEPS, GROUPVIT, MAE, SAM, TAESD, VITS, Part
from segwright.selfcheck.tensors import strangers

CPU = torch.device("cpu")


def check(opened: Any, folder: Path) -> int:
    """All tensors are of the folder's files; how many there are."""
    count, strange = strangers(opened, folder)
    assert not strange
    return count


def test_a_tensor_of_no_file_is_a_stranger(tmp_path: Path) -> None:
    folder = tiny.clip(tmp_path)
    opened = OPENERS["clip"](folder, CPU, torch.float32)
    opened.model.logit_scale.data += 1
    assert strangers(opened, folder)[1] == ["model: logit_scale"]
    opened = OPENERS["clip"](folder, CPU, torch.bfloat16)
    assert strangers(opened, folder)[1] == []


# Small networks, in every shape.


def small(folder: Path, network: str, shape: str) -> Path:
    if network == "diffusion":
        tiny.diffusion(folder, shape)
        vae, text = folder / "vae/diffusion_pytorch_model.safetensors", folder / "text_encoder/model.safetensors"
        vae.write_bytes(renamed(vae.read_bytes(), OLD_VAE))
        text.write_bytes(with_position_ids(text.read_bytes()))
        return folder
    tiny.preset(folder, vit=shape or "dinov2")
    path = folder / network / "model.safetensors"
    if network in ("clip", "groupvit"):
        path.write_bytes(with_position_ids(path.read_bytes()))
    if network == "captioner":
        path.write_bytes(blip(path.read_bytes()))
    return folder / network


SMALL = [
    *(("diffusion", shape) for shape in (*tiny.SHAPES, "lcm")),
    *((name, "") for name in ("tiny_vae", "clip", "captioner", "dino", "mae", "sam", "groupvit")),
    ("vit", "dinov2"),
    ("vit", "vit"),
]


@pytest.mark.parametrize(("network", "shape"), SMALL)
def test_small_networks_hold_what_their_file_holds(tmp_path: Path, network: str, shape: str) -> None:
    folder = small(tmp_path, network, shape)
    assert check(OPENERS[network](folder, CPU, torch.float32), folder) > 30


@pytest.mark.parametrize(("network", "shape"), SMALL)
def test_each_missing_tensor_is_named(tmp_path: Path, network: str, shape: str) -> None:
    """Tensors from all over the file, one taken out at a time."""
    folder = small(tmp_path, network, shape)
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = load_file(path)
        tied = ("decoder.weight", "decoder.bias", "predictions.bias", "pooler.", "position_ids", "num_batches", "mask_token")
        keys = [key for key in sorted(tensors) if not any(word in key for word in tied)]
        for key in keys[:: max(1, len(keys) // 4)]:
            save_file({k: v for k, v in tensors.items() if k != key}, path, {"format": "pt"})
            with pytest.raises(WeightsError) as caught:
                OPENERS[network](folder, CPU, torch.float32)
            assert str(path) in str(caught.value)
            assert re.split(r"\.", key)[-1] in str(caught.value)
        save_file(tensors, path, {"format": "pt"})
    assert read(folder)


MID = "mid_block.attentions.0.proj_in.weight"


# Full size: `make real-size`. One network at a time is in memory, at most 10.3 GB of it.

REAL: dict[str, tuple[str, Callable[[Path], Path], Part | None, str]] = {
    "sd15": ("diffusion", lambda f: real_size.stable_diffusion(f, "sd1"), DIFFUSION["sd15"], MID),
    "sd21": ("diffusion", lambda f: real_size.stable_diffusion(f, "sd21"), DIFFUSION["sd21"], MID),
    "sdxl": ("diffusion", lambda f: real_size.stable_diffusion(f, "xl"), DIFFUSION["sdxl"], MID),
    "sd-turbo": ("diffusion", lambda f: real_size.stable_diffusion(f, "turbo"), FEW_STEPS["sd-turbo"].part, MID),
    "lcm": ("diffusion", lambda f: real_size.stable_diffusion(f, "lcm"), FEW_STEPS["lcm"].part, MID),
    "clip-b32": ("clip", lambda f: real_size.clip(f, 32), CLIPS["clip-b32"], "visual_projection.weight"),
    "clip-b16": ("clip", lambda f: real_size.clip(f, 16), CLIPS["clip-b16"], "visual_projection.weight"),
    "clip-l14": ("clip", lambda f: real_size.clip(f, 14), CLIPS["clip-l14"], "visual_projection.weight"),
    "blip-base": (
        "captioner", lambda f: real_size.blip(f, False), CAPTIONERS["blip-base"], "vision_model.embeddings.patch_embedding.weight",
    ),
    "blip-large": (
        "captioner", lambda f: real_size.blip(f, True), CAPTIONERS["blip-large"], "vision_model.embeddings.patch_embedding.weight",
    ),
    "dinov2": ("vit", lambda f: real_size.backbone(f, "dinov2"), VITS["dinov2"], "encoder.layer.3.attention.attention.key.weight"),
    "vit": ("vit", lambda f: real_size.backbone(f, "vit"), VITS["vit"], "vit.encoder.layer.3.attention.attention.key.weight"),
    "dino": ("dino", lambda f: real_size.backbone(f, "dino"), DINO, "encoder.layer.3.attention.attention.key.weight"),
    "mae": ("mae", lambda f: real_size.backbone(f, "mae"), MAE, "vit.encoder.layer.3.attention.attention.key.weight"),
    "sam": ("sam", real_size.sam, SAM, "vision_encoder.layers.3.attn.qkv.weight"),
    "groupvit": ("groupvit", real_size.groupvit, GROUPVIT, "text_model.encoder.layers.3.self_attn.k_proj.weight"),
}  # fmt: skip


@pytest.mark.real_size
@pytest.mark.parametrize("name", REAL)
def test_networks_of_full_size(tmp_path: Path, name: str) -> None:
    network, make, part, key = REAL[name]
    folder = make(tmp_path)
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*.safetensors")}
    for file in part.files if part is not None else ():
        if file.name in sizes:  # headers differ by their order and spaces, tied tensors are written once or twice
            print(name, file.name, sizes[file.name], file.size)
            assert abs(sizes[file.name] - file.size) < 0.002 * file.size + 200_000, (file.name, sizes[file.name], file.size)
    opened = OPENERS[network](folder, CPU, torch.float32)
    print(name, check(opened, folder), "tensors")
    del opened
    path = folder / ("unet/diffusion_pytorch_model.safetensors" if network == "diffusion" else "model.safetensors")
    real_size.hide(path, key)
    with pytest.raises(WeightsError, match="missing") as caught:
        OPENERS[network](folder, CPU, torch.float32)
    assert key.rpartition(".")[2] in str(caught.value)


@pytest.mark.real_size
def test_the_tiny_encoder_of_full_size(tmp_path: Path) -> None:
    folder = real_size.taesd(tmp_path)
    size = (folder / "diffusion_pytorch_model.safetensors").stat().st_size
    assert abs(size - TAESD.files[1].size) < 20_000
    assert check(open_diffusers("AutoencoderTiny", folder, torch.float32), folder) > 100
