"""``fast=True``: the tiny encoder where the preset has one, greedy captions, and an identity of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segwright.cli.options import settle_dtype
from segwright.errors import WeightsError
from segwright.methods import load_method
from segwright.methods.base import MethodSpec
from segwright.mini.train.export import save_model
from segwright.mini.train.tiny_vae import build
from segwright.presets import PRESETS, TAESD, faster, shipped_folder
from segwright.types import Image
from segwright.weights import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Preset mini with a tiny encoder of random weights."""
    made = tmp_path_factory.mktemp("fast") / "mini"
    shutil.copytree(shipped_folder("mini"), made)
    torch.manual_seed(0)
    save_model(build(), made / "tiny_vae")
    return made


@pytest.fixture(scope="module")
def image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def test_which_presets_get_a_tiny_encoder(folder: Path) -> None:
    assert faster(PRESETS["sd15"]).tiny
    assert PRESETS["sd15"].parts["tiny_vae"] == TAESD
    assert not faster(PRESETS["sdxl"]).tiny  # its latents are others
    assert load(folder, "cpu", fast=True).preset.tiny
    assert not load(folder, "cpu").preset.tiny


def test_the_tiny_encoder_encodes_and_the_vae_decodes(folder: Path, image: Image) -> None:
    fast, plain = load(folder, "cpu", fast=True), load(folder, "cpu")
    pixels = plain.diffusion.pixels([image])
    with torch.no_grad():
        wanted = fast.tiny_vae.encode(pixels * 2 - 1).latents
    assert torch.equal(fast.diffusion.encode(pixels), wanted)
    assert not torch.allclose(plain.diffusion.encode(pixels), wanted, atol=0.1)
    assert torch.equal(fast.diffusion.decode(wanted), plain.diffusion.decode(wanted))


def test_greedy_captions(folder: Path, image: Image) -> None:
    fast, plain = load(folder, "cpu", fast=True), load(folder, "cpu")
    assert (fast.captioner.beams, plain.captioner.beams) == (1, 3)
    assert fast.captioner.caption([image]) == plain.captioner.caption([image], beams=1)


def test_identity_holds_it(folder: Path) -> None:
    plain, fast = (MethodSpec("freeseg-diff", str(folder), "cpu", extras={"fast": f}).identity() for f in (False, True))
    assert plain["networks"]["diffusion"] != fast["networks"]["diffusion"]
    assert plain["networks"]["captioner"] != fast["networks"]["captioner"]
    assert plain["networks"]["clip"] == fast["networks"]["clip"]
    assert plain == MethodSpec("freeseg-diff", str(folder), "cpu").identity()


def test_the_other_encoders_weights_change_the_identity(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "mini"
    shutil.copytree(folder, other)
    torch.manual_seed(1)
    save_model(build(), other / "tiny_vae")
    one, two = (load(where, "cpu", fast=True).identity("diffusion") for where in (folder, other))
    assert one != two


def test_a_method_runs_fast_and_a_bank_is_not_shared(folder: Path, image: Image) -> None:
    from segwright.methods.ovdiff.default_bank import default_bank
    from segwright.methods.ovdiff.support import SupportSettings

    method: Any = load_method("freeseg-diff", folder, "cpu", fast=True)
    assert method(image, ["dog", "cat"]).labels.shape == image.shape[:2]
    assert method.networks.preset.tiny
    banks = {default_bank(load(folder, "cpu", fast=fast), SupportSettings()) for fast in (False, True)}
    assert len(banks) == 2


def test_a_tiny_encoder_of_other_latents_is_refused(folder: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderTiny

    other = tmp_path / "mini"
    shutil.copytree(folder, other)
    save_model(AutoencoderTiny(latent_channels=8), other / "tiny_vae")
    with pytest.raises(WeightsError, match="no pair"):
        load(other, "cpu", fast=True).diffusion  # noqa: B018


def test_auto_is_settled_before_a_command_runs() -> None:
    from segwright.cli import parser

    options = parser().parse_args(["segment", "a.png", "--fast", "--dtype", "auto", "--device", "cpu"])
    settle_dtype(options)
    assert options.dtype in ("float32", "bfloat16")
    assert options.fast
