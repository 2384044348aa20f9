"""From an empty cache to masks, and folders that work without network, on a hub of this machine with tiny weights."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hub
import huggingface_hub
import numpy as np
import pytest
from hub_fixtures import COMMIT, part_of, pickled
from PIL import Image
from safetensors.torch import load_file

from segwright import fetching, presets, weights
from segwright.cli import main
from segwright.errors import InputError, OutputError, WeightsError
from segwright.methods import METHODS, find_method
from segwright.mini.voc import data_folder
from segwright.models.hub import human
from segwright.models.repositories import File, Part

PHOTO = data_folder() / "JPEGImages" / "val_00000.jpg"


def bytes_of(served: hub.Hub) -> int:
    return sum(served.sent.values())


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_the_default_command_from_an_empty_cache_to_masks(
    stocked: hub.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEGWRIGHT_PRESET", raising=False)
    assert run("segment", PHOTO, "--words", "dog, car", "-o", tmp_path / "run") == 0
    told = capsys.readouterr().err
    sizes = fetching.size("freeseg-diff", presets.PRESETS["sd15"])
    assert human(sizes) in told
    assert bytes_of(stocked) == sizes
    with Image.open(tmp_path / "run" / f"{PHOTO.stem}.png") as mask, Image.open(PHOTO) as photo:
        assert mask.size == photo.size
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 2}
    asked = len(stocked.log)
    assert run("segment", PHOTO, "--words", "dog, car", "-o", tmp_path / "again") == 0
    assert len(stocked.log) == asked
    assert (tmp_path / "run" / f"{PHOTO.stem}.png").read_bytes() == (tmp_path / "again" / f"{PHOTO.stem}.png").read_bytes()


def test_everything_is_fetched_before_the_work_begins(stocked: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of OVDiff above all, which drew the first word's pictures before it asked for its extractors."""
    monkeypatch.setenv("SEGWRIGHT_BANKS", str(tmp_path / "banks"))
    stocked.fault("facebook/dino-vitb8", hub.status(404, X_Error_Code="RepoNotFound"))
    opened: list[str] = []
    monkeypatch.setattr(weights.Networks, "_open", lambda _, name: opened.append(name))
    assert run("segment", PHOTO, "--words", "dog", "--method", "ovdiff", "-o", tmp_path / "run") == 2
    assert not opened
    assert not (tmp_path / "banks").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", [*METHODS, "g4seg", "emi"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ["sd15", "sd15-fast"])
def test_what_is_said_equals_what_is_fetched(stocked: hub.Hub, method: str, dtype: str, name: str) -> None:
    preset = presets.PRESETS[name]
    expected = fetching.size(method, preset, dtype != "float32")
    assert f"{method} {human(fetching.size(method, preset))}" in fetching.describe()
    fetching.prefetch([method], name, dtype, notify=lambda _: None)
    assert bytes_of(stocked) == expected


def test_all_methods_at_once_are_the_presets_parts_and_ovdiffs_clip(stocked: hub.Hub) -> None:
    """The sizes that ``segwright presets`` says of the parts, added up."""
    said: list[str] = []
    fetching.prefetch(["all"], "sd15", notify=said.append)
    preset = presets.PRESETS["sd15"]
    used = [part for kind, part in preset.parts.items() if kind not in ("tiny_vae", "vit", "mae", "sam")]
    assert bytes_of(stocked) == sum(part.size for part in (*used, presets.CHOICES["clip"]["clip-b16"]))
    assert len([line for line in said if " in all " in line]) == 1


# The tiny encoder.


def test_the_fast_preset_from_an_empty_cache_to_masks(
    stocked: hub.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import AutoencoderKL, AutoencoderTiny

    encoded: list[str] = []
    for kind in (AutoencoderKL, AutoencoderTiny):
        encode = kind.encode

        def spied(self: Any, *given: Any, _encode: Any = encode, _name: str = kind.__name__, **named: Any) -> Any:
            encoded.append(_name)
            return _encode(self, *given, **named)

        monkeypatch.setattr(kind, "encode", spied)
    assert run("segment", PHOTO, "--preset", "sd15-fast", "-o", tmp_path / "run") == 0
    told = capsys.readouterr().err
    assert "madebyollin/taesd" in told
    assert bytes_of(stocked) == fetching.size("freeseg-diff", presets.PRESETS["sd15-fast"])
    assert encoded == ["AutoencoderTiny"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["networks"]["tiny_vae"].startswith("madebyollin/taesd@614f7681")
    assert (record["defaults"]["tiny"], record["defaults"]["beams"]) == (True, 1)
    with Image.open(tmp_path / "run" / f"{PHOTO.stem}.png") as mask, Image.open(PHOTO) as photo:
        assert mask.size == photo.size


def test_the_tiny_encoder_gives_scaled_latents_and_captions_are_greedy(stocked: hub.Hub) -> None:
    import torch

    networks = weights.load("sd15-fast", "cpu", notify=lambda _: None)
    diffusion, tiny_vae = networks.diffusion, networks.tiny_vae
    image = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    found = diffusion.encode(image)
    assert found.equal(tiny_vae.encode(image * 2 - 1).latents * tiny_vae.config.scaling_factor)
    assert found.shape == weights.load("sd15", "cpu", notify=lambda _: None).diffusion.encode(image).shape
    assert (networks.captioner.beams, weights.load("sd15", "cpu", notify=lambda _: None).captioner.beams) == (1, 3)


def test_a_folder_of_the_fast_preset_keeps_its_encoder(stocked: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("fetch", "sd15-fast", "--to", tmp_path / "folder") == 0
    assert (tmp_path / "folder" / "tiny_vae" / "diffusion_pytorch_model.safetensors").is_file()
    stocked.repos.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert presets.find_preset(tmp_path / "folder").tiny
    assert run("segment", PHOTO, "--preset", tmp_path / "folder", "--words", "dog, car", "-o", tmp_path / "run") == 0
    (tmp_path / "folder" / "tiny_vae" / "config.json").unlink()
    with pytest.raises(WeightsError, match="has no tiny_vae"):
        weights.load(tmp_path / "folder", "cpu").prepare(["diffusion"])


def test_a_tiny_encoder_of_other_latents_is_refused(stocked: hub.Hub) -> None:
    from diffusers import AutoencoderTiny

    networks = weights.load("sd15", "cpu", notify=lambda _: None)
    other = AutoencoderTiny(encoder_block_out_channels=(4, 4, 4), num_encoder_blocks=(1, 1, 1), latent_channels=16)
    with pytest.raises(WeightsError, match="16 channels and cells of 4 pixels, the VAE 4 and 8"):
        networks.diffusion.use_encoder(other)


# Few-step weights for support pictures.


@pytest.mark.parametrize("name", ["sd-turbo", "lcm"])
def test_support_pictures_by_few_step_weights(
    stocked: hub.Hub, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from segwright.methods.ovdiff.bank import Bank
    from segwright.models.diffusion import Diffusion

    passes: list[int] = []
    predict = Diffusion.predict
    monkeypatch.setattr(Diffusion, "predict", lambda self, x, t, *more: passes.append(len(x)) or predict(self, x, t, *more))
    few = ("--support", 2, "--set", "parts=2", "--extractors", "clip")
    assert run("prototypes", "dog", "-o", tmp_path / "bank", "--preset", "sd15", "--generator", name, *few) == 0
    assert presets.FEW_STEPS[name].part.repo in capsys.readouterr().err
    assert passes == [2] * 4  # four steps of both pictures, without a half for guidance
    bank = Bank.open(tmp_path / "bank")
    assert bank.settings["support"]["sampling"] == {"steps": 4, "guidance": 0.0, "negative": "", "scheduler": bank_scheduler(name)}
    assert bank.settings["networks"]["generator"].startswith(presets.FEW_STEPS[name].part.repo)
    assert bank.settings["networks"]["diffusion"].startswith("stable-diffusion-v1-5/")
    assert set(bank.entries()) == {"dog"}
    asked = len(stocked.log)
    command = ("segment", PHOTO, "--method", "ovdiff", "--bank", tmp_path / "bank", "--words", "dog", "--refine", "none")
    assert run(*command, "--preset", "sd15", "-o", tmp_path / "run") == 0
    assert not [path for _, path in stocked.log[asked:] if presets.FEW_STEPS[name].part.repo in path]
    other = ("--generator", "lcm" if name == "sd-turbo" else "sd-turbo")
    assert run("prototypes", "cat", "-o", tmp_path / "bank", "--preset", "sd15", *other) == 2
    assert "generator" in capsys.readouterr().err


def bank_scheduler(name: str) -> str:
    return {"sd-turbo": "euler", "lcm": "lcm"}[name]


def test_few_step_weights_are_fetched_before_a_picture_is_drawn(stocked: hub.Hub, tmp_path: Path) -> None:
    stocked.fault("SimianLuo/LCM_Dreamshaper_v7", hub.status(404, X_Error_Code="RepoNotFound"))
    assert run("prototypes", "dog", "-o", tmp_path / "bank", "--preset", "sd15", "--generator", "lcm") == 2
    assert not (tmp_path / "bank").exists()
    assert not bytes_of(stocked)
    with pytest.raises(InputError, match="generator must be one of sd-turbo, lcm, got 'sd3'"):
        weights.load("mini", "cpu").generator("sd3")
    assert run("prototypes", "dog", "-o", tmp_path / "bank", "--preset", "mini", "--generator", "sd3") == 2


def test_a_folder_with_another_clip_and_a_generator_works_without_network(
    stocked: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    assert run("fetch", "sd15", "--for", "ovdiff", "--clip", "clip-l14", "--generator", "lcm", "--to", folder) == 0
    about = json.loads((folder / "segwright.json").read_text())
    assert about["parts"]["clip"].startswith("openai/clip-vit-large-patch14@")
    stocked.repos.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    few = ("--support", 2, "--set", "parts=2", "--extractors", "sd,clip")
    assert run("prototypes", "dog", "-o", tmp_path / "bank", "--preset", folder, "--generator", "lcm", *few) == 0


# What a hub can do to the first run: it ends in masks all the same.


def _pickle_alone(served: hub.Hub, part: Part) -> Part:
    """BLIP with a pickle and nothing else, its discussions disabled."""
    there = served.repos[part.repo]
    data = pickled(there.commits[there.refs["refs/pr/7"]]["model.safetensors"])
    there.talks = None
    there.commits = {part.revision: there.commits[part.revision] | {"pytorch_model.bin": data}}
    return replace(part, pickle=File("pytorch_model.bin", len(data), hashlib.sha256(data).hexdigest()))


def _no_weights(served: hub.Hub, part: Part) -> Part:
    """No pull request, no pickle that is pinned: BLIP large, which is another repository, does the work."""
    there = served.repos[part.repo]
    large = {name: data for name, data in there.commits[there.refs["refs/pr/7"]].items() if name != "tf_model.h5"}
    there.talks, there.commits = [], {part.revision: there.commits[part.revision]}
    served.add("somebody/blip-large", large, COMMIT.format(77))
    return replace(part, pickle=None, instead=part_of("somebody/blip-large", large, 77))


def _unwell(served: hub.Hub, part: Part) -> Part:
    """Once each: 500, 429 with a pause, a cut within the file, silence."""
    for where, act in (
        ("/api/models/stable", hub.status(500)),
        ("/api/models/openai", hub.status(429, Retry_After="0")),
        ("/cdn/stable-diffusion-v1-5/", hub.cut(5000)),
        ("/cdn/openai/", hub.silent(60, after=3000)),
    ):
        served.fault(where, act, times=1)
    return part


def _moved(served: hub.Hub, part: Part) -> Part:
    """The pull request has another number and title."""
    there = served.repos[part.repo]
    there.refs["refs/pr/99"] = there.refs.pop("refs/pr/7")
    there.talks = [{"num": 99, "title": "as you like it", "isPullRequest": True, "author": {"name": "SFconvertbot"}}]
    return part


@pytest.mark.parametrize("spoil", [_pickle_alone, _no_weights, _unwell, _moved])
def test_the_first_run_ends_in_masks_all_the_same(
    stocked: hub.Hub, tmp_path: Path, spoil: Callable[[hub.Hub, Part], Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = presets.PRESETS["sd15"]
    part = spoil(stocked, preset.parts["captioner"])
    monkeypatch.setitem(presets.PRESETS, "sd15", replace(preset, parts=preset.parts | {"captioner": part}))
    assert run("segment", PHOTO, "--preset", "sd15", "-o", tmp_path / "run") == 0
    assert (tmp_path / "run" / f"{PHOTO.stem}.png").is_file()
    used = json.loads((tmp_path / "run" / "run.json").read_text())["networks"]["captioner"]
    assert used.startswith("somebody/blip-large@" if spoil is _no_weights else "Salesforce/blip-image-captioning-base@")


# Everything before the work begins, by every command that needs networks.

OUT = "OUT"  # where results would lie
BEFORE: dict[str, tuple[object, ...]] = {
    "segment": ("segment", PHOTO, "-o", OUT),
    "explain": ("explain", PHOTO, "-o", OUT),
    "refine": ("refine", PHOTO, "--mask", PHOTO.parent.parent / "SegmentationClass" / f"{PHOTO.stem}.png", "--vocabulary", "mini",
               "-o", OUT),
    "explain a mask": ("explain", PHOTO, "--mask", PHOTO.parent.parent / "SegmentationClass" / f"{PHOTO.stem}.png", "--vocabulary",
                       "mini", "-o", OUT),
    "evaluate": ("evaluate", "--data", "mini", "--limit", 1, "-o", OUT),
    "prototypes": ("prototypes", "dog", "-o", OUT),
    "diagnose": ("diagnose", PHOTO, "-o", OUT),
    "check": ("check", "-o", OUT),
    "serve": ("serve",),
}  # fmt: skip


@pytest.mark.parametrize("command", BEFORE)
def test_nothing_is_opened_where_the_last_network_cannot_be_had(
    stocked: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(weights.Networks, "_open", lambda _, name: opened.append(name))
    monkeypatch.setattr("segwright.server.page.app.run", lambda *_: pytest.fail("the page was served"))
    stocked.fault(presets.CLIPS["clip-b32"].repo, hub.status(404, X_Error_Code="RepoNotFound"))
    stocked.fault("facebook/dino-vitb8", hub.status(404, X_Error_Code="RepoNotFound"))
    arguments = [tmp_path / "out" if a is OUT else a for a in BEFORE[command]]
    assert run(*arguments, "--preset", "sd15", "--device", "cpu") == 2
    told = capsys.readouterr().err
    assert "is not on http" in told
    assert told.count("\n") == 1
    assert not opened
    assert not (tmp_path / "out").exists()
    assert not bytes_of(stocked)


def test_a_table_fetches_what_its_rows_need_first_and_says_what_cannot_be_had(
    stocked: hub.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from segwright.evaluation.tables import table

    events: list[str] = []
    kept = weights.Networks._open
    monkeypatch.setattr(weights.Networks, "_open", lambda self, name: events.append(name) or kept(self, name))
    stocked.fault("/cdn/", lambda _: events.append("fetched") is not None)
    given = {"data": "mini", "preset": "sd15", "device": "cpu", "limit": 1}
    lines = table("freeseg-diff/3", out=tmp_path / "out", **given)
    assert [line.row for line in lines if not line.missing] == ["CLIP-ViT", "SDM"], [line.missing for line in lines]
    assert "fetched" in events
    assert "fetched" not in events[events.index(next(e for e in events if e != "fetched")) :]
    assert capsys.readouterr().err.count(" in all to ") == 1
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    stocked.fault("/api/", hub.status(404, X_Error_Code="RepoNotFound"))
    stocked.faults.reverse()
    lines = table("freeseg-diff/3", out=tmp_path / "other", **given)
    assert "is not on http" in capsys.readouterr().err
    assert all("has not been fetched yet" in line.missing for line in lines if line.row in ("CLIP-ViT", "SDM"))


def test_what_can_be_fetched_for() -> None:
    assert set(fetching.targets()) == {*METHODS, "g4seg", "emi"}
    sd15 = presets.PRESETS["sd15"]
    assert fetching.needs("g4seg", sd15) == ("diffusion", "clip")
    assert fetching.needs("ovdiff", sd15) == ("diffusion", "clip", "captioner", "dino")
    assert fetching.needs("ovdiff", sd15, {"extractors": ("mae",)}, words=True) == ("diffusion", "clip", "mae")
    assert fetching.needs("sclip", sd15, {"refine": "pamr,g4seg"}, words=True) == ("diffusion", "clip")
    with pytest.raises(InputError, match="has no setting 'magic'"):
        fetching.needs("sclip", sd15, {"magic": 1})


# iSeg's own are heads that the small networks lack; these make of no word enough for best to go on to the diffusion model.
SMALL: dict[str, dict[str, Any]] = {"iseg": {"heads": ()}, "best": {"confidence": 0.0}}
CALLS: list[tuple[str, dict[str, Any], list[str] | None]] = [
    *((method, SMALL.get(method, {}), words) for method in METHODS if method != "ovdiff" for words in (None, ["dog", "car"])),
    *(("freeseg-diff", {"backbone": kind}, None) for kind in ("clip", "vit", "rgb")),
    ("freeseg-diff", {"candidates": "none"}, ["dog", "car"]),
    ("sclip", {"candidates": "reference"}, ["dog", "car"]),
    ("freeseg-diff", {"candidates": "none", "prompt": "caption"}, ["dog", "car"]),
    ("diffsegmenter", {"candidates": "none"}, ["dog", "car"]),
    ("diffsegmenter", {"candidates": "none", "caption": False}, ["dog", "car"]),
    ("clip-es", {"candidates": "prefilter"}, ["dog", "car"]),
    ("iseg", {"heads": (), "candidates": "none", "refine": "g4seg"}, ["dog", "car"]),
]


@pytest.mark.parametrize(("method", "settings", "words"), CALLS)
def test_a_method_asks_for_no_network_that_was_not_fetched(
    stocked: hub.Hub, monkeypatch: pytest.MonkeyPatch, method: str, settings: dict[str, Any], words: list[str] | None
) -> None:
    """The needs that are stated hold the networks that a run opens, and the other way round."""
    import segwright as sw

    opened: set[str] = set()
    kept = weights.Networks._open

    def spied(self: weights.Networks, name: str) -> Any:
        opened.add(name)
        return kept(self, name)

    monkeypatch.setattr(weights.Networks, "_open", spied)
    find_method(method).load("sd15", "cpu", **settings)(sw.read(PHOTO), words)
    needed = set(fetching.needs(method, presets.PRESETS["sd15"], settings, words is not None))
    assert opened == needed


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_works_without_network(
    stocked: hub.Hub, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fetch", "sd15", "--to", tmp_path / "folder", "--dtype", dtype) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "folder")
    about = json.loads((tmp_path / "folder" / "segwright.json").read_text())
    assert about["preset"] == "sd15"
    assert about["parts"]["clip"].startswith("openai/clip-vit-base-patch32@c237dc")
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    cache.rename(cache.with_name("away"))
    stocked.repos.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run("segment", PHOTO, "--preset", tmp_path / "folder", "--words", "dog, car", "-o", tmp_path / "run") == 0
    assert not any(path.is_symlink() for path in (tmp_path / "folder").rglob("*"))
    found = presets.find_preset(tmp_path / "folder")
    assert (found.image_size, found.parts) == (512, {})


def test_a_folder_keeps_its_presets_settings(tmp_path: Path) -> None:
    (tmp_path / "segwright.json").write_text('{"preset": "sd21", "licence": "x"}')
    assert presets.find_preset(tmp_path).image_size == 768
    (tmp_path / "segwright.json").write_text('{"preset": "sd99"}')
    with pytest.raises(WeightsError, match=r"segwright\.json"):
        presets.find_preset(tmp_path)


def test_a_folder_that_is_there_is_not_written_into(stocked: hub.Hub, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thing").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        fetching.fetch("sd15", ["sclip"], tmp_path / "folder", notify=lambda _: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "hub"]


def test_unknown_methods_and_presets_on_this_machine_are_refused(stocked: hub.Hub) -> None:
    with pytest.raises(InputError, match="freeseg-diff"):
        fetching.fetch("sd15", ["magic"], notify=lambda _: None)
    with pytest.raises(InputError, match="on this machine already"):
        fetching.fetch("mini", notify=lambda _: None)


def test_the_identity_is_of_the_commit_that_was_loaded(stocked: hub.Hub) -> None:
    networks = weights.load("sd15", "cpu", notify=lambda _: None)
    captioner = presets.PRESETS["sd15"].parts["captioner"].repo
    commit = stocked.repos[captioner].refs["refs/pr/7"]
    assert networks.identity("captioner") == f"{captioner}@{commit}"
    assert networks.identity("diffusion").endswith("@451f4fe16113bff5a5d2269ed5ad43b0592e9a14")


def test_half_precision_files_load_and_are_another_identity(stocked: hub.Hub) -> None:
    networks = weights.load("sd15", "cpu", "float16", notify=lambda _: None)
    folder = networks.folder("diffusion")
    assert not (folder / "unet/diffusion_pytorch_model.safetensors").exists()
    assert networks.identity("diffusion").endswith(" fp16")
    found = load_file(folder / "unet/diffusion_pytorch_model.fp16.safetensors")
    assert all(found[name].equal(value) for name, value in networks.diffusion.unet.state_dict().items())
    assert networks.diffusion.vae.dtype.itemsize == 4
    weights.load("sd15", "cpu", notify=lambda _: None).prepare(["diffusion"])
    assert "fp16" not in networks.identity("diffusion")  # what is there in full precision is used


def test_the_command_itself_with_nothing_but_the_environment(
    repositories: dict[str, dict[str, bytes]], served: hub.Hub, tmp_path: Path
) -> None:
    """As a user of a mirror has it: HF_ENDPOINT with its slash, an empty home, the presets as they ship; then offline."""
    for network, part in presets.PRESETS["sd15"].parts.items():
        if network in ("diffusion", "clip", "captioner"):
            files = repositories[network]
            small = {name: data for name, data in files.items() if not (part.converted and name.endswith(".safetensors"))}
            served.add(part.repo, small, part.revision, talks=[])
            if part.converted:
                served.offer(part.repo, 12, {"model.safetensors": files["model.safetensors"]})
    unset = ("SEGWRIGHT_PRESET", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    environment |= {"HF_ENDPOINT": f"{served.address}/", "HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "segwright", "segment", str(PHOTO), "-o", str(tmp_path / "run"), "--device", "cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "Fetching Salesforce/blip-image-captioning-base" in done.stderr
    assert (tmp_path / "run" / f"{PHOTO.stem}.overlay.png").is_file()
    assert (tmp_path / "home" / ".cache" / "huggingface" / "hub").is_dir()
    environment |= {"HOME": str(tmp_path / "other"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, "--restart"], env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "segwright: stable-diffusion-v1-5/stable-diffusion-v1-5 is not on this machine and HF_HUB_OFFLINE"
    )
    assert done.stderr.count("\n") == 1
