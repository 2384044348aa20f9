import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from segwright import presets, weights
from segwright.errors import InputError, WeightsError
from segwright.models import hub


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.preset(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "preset"))


def refused(folder: Path, network: str, names: str = "") -> str:
    """The one sentence with which a network is refused."""
    with pytest.raises(WeightsError) as caught:
        getattr(weights.load(folder, "cpu"), network)
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert names in text
    return text


def test_the_default_preset(monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    monkeypatch.delenv("SEGWRIGHT_PRESET", raising=False)
    assert presets.default_preset() == "sd15"
    monkeypatch.setenv("SEGWRIGHT_PRESET", str(whole))
    assert weights.load(device="cpu").preset.name == str(whole)


@pytest.mark.parametrize("name", ["sd16", "./nowhere", "/no/such/folder", ""])
def test_unknown_presets_are_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="mini"):
        weights.load(name)


@pytest.mark.parametrize(
    "settings", [{"device": "tpu"}, {"device": "cuda:x"}, {"device": "cuda:99"}, {"dtype": "int8"}, {"clip": "b64"}]
)
def test_unknown_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InputError):
        weights.load("mini", **settings)  # type: ignore[arg-type]


def test_networks_are_loaded_once_and_lazily(whole: Path) -> None:
    networks = weights.load(whole)
    assert networks.device.type in weights.DEVICES
    assert not {"clip", "diffusion"} & set(vars(networks))
    assert networks.clip is networks.clip
    assert networks.folder("captioner") == whole / "captioner"


def test_loading_is_quiet_and_leaves_settings_alone(whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    networks = weights.load(whole, "cpu")
    for name in presets.NETWORKS:
        getattr(networks, name)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)


@pytest.mark.parametrize(
    ("network", "file"),
    [
        ("diffusion", "model_index.json"),
        ("diffusion", "unet/config.json"),
        ("diffusion", "unet/diffusion_pytorch_model.safetensors"),
        ("diffusion", "vae/config.json"),
        ("diffusion", "vae/diffusion_pytorch_model.safetensors"),
        ("diffusion", "text_encoder/config.json"),
        ("diffusion", "text_encoder/model.safetensors"),
        ("diffusion", "scheduler/scheduler_config.json"),
        ("clip", "clip/config.json"),
        ("clip", "clip/model.safetensors"),
        ("clip", "clip/preprocessor_config.json"),
        ("captioner", "captioner/model.safetensors"),
        ("captioner", "captioner/preprocessor_config.json"),
        ("vit", "vit/config.json"),
        ("vit", "vit/model.safetensors"),
    ],
)
def test_a_missing_or_damaged_file_is_named(folder: Path, network: str, file: str) -> None:
    path = folder / file
    data = path.read_bytes()
    path.unlink()
    refused(folder, network, str(path))
    cuts = (0, 5, len(data) // 2, len(data) - 3) if file.endswith(".safetensors") else (0, len(data) // 2)
    for cut in cuts:
        path.write_bytes(data[:cut])
        refused(folder, network, str(path))
    path.write_bytes(b"\xff" * 100)
    refused(folder, network, str(path))


@pytest.mark.parametrize(("network", "part"), [("diffusion", "tokenizer"), ("clip", "clip"), ("captioner", "captioner")])
def test_a_missing_vocabulary_is_named(folder: Path, network: str, part: str) -> None:
    for name in ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"):
        (folder / part / name).unlink(missing_ok=True)
    refused(folder, network, "vocabulary")


@pytest.mark.parametrize(
    ("network", "part", "change"),
    [
        ("diffusion", "unet", {"block_out_channels": [16, 16, 16, 16]}),
        ("diffusion", "unet", {"cross_attention_dim": 24}),
        ("diffusion", "unet", {"layers_per_block": 3}),
        ("diffusion", "vae", {"layers_per_block": 2}),
        ("diffusion", "vae", {"latent_channels": 8}),
        ("diffusion", "text_encoder", {"num_hidden_layers": 3}),
        ("diffusion", "scheduler", {"beta_schedule": "magic"}),
        ("clip", "clip", {"projection_dim": 24}),
        ("vit", "vit", {"num_hidden_layers": 4}),
        ("vit", "vit", {"model_type": "resnet"}),
        (
            "captioner",
            "captioner",
            {"vision_config": {"hidden_size": 32, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}},
        ),
    ],
)
def test_weights_that_do_not_fit_their_config_are_refused(folder: Path, network: str, part: str, change: dict[str, Any]) -> None:
    path = next(p for n in ("config.json", "scheduler_config.json") if (p := folder / part / n).is_file())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(folder, network, str(folder))


def test_pickles_are_not_read(folder: Path) -> None:
    path = folder / "clip" / "model.safetensors"
    torch.save(load_file(path), folder / "clip" / "pytorch_model.bin")
    path.unlink()
    assert "safetensors" in refused(folder, "clip", str(path))


def test_a_network_without_all_its_weights_is_refused(folder: Path) -> None:
    for network, file in (
        ("clip", "clip/model"),
        ("diffusion", "vae/diffusion_pytorch_model"),
        ("diffusion", "unet/diffusion_pytorch_model"),
    ):
        path = folder / f"{file}.safetensors"
        tensors = load_file(path)
        del tensors[next(k for k in tensors if "attn" in k or "attention" in k)]
        save_file(tensors, path, {"format": "pt"})
        assert "missing" in refused(folder, network, str(path))


def test_an_autoencoder_with_the_old_names_of_its_attention_is_read(folder: Path, whole: Path) -> None:
    """Those of SD 1.4 and 1.5 on the hub have them."""
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    new = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    tensors = {}
    for key, value in load_file(path).items():
        for a, b in new.items():
            key = key.replace(a, b) if "attentions" in key else key
        tensors[key] = value
    assert any("proj_attn" in k for k in tensors)
    save_file(tensors, path, {"format": "pt"})
    image = torch.rand(1, 3, 128, 128)
    expected = weights.load(whole, "cpu").diffusion.encode(image)
    assert torch.equal(weights.load(folder, "cpu").diffusion.encode(image), expected)


def test_a_folder_without_a_part_can_be_used_for_the_others(folder: Path) -> None:
    shutil.rmtree(folder / "captioner")
    assert weights.load(folder, "cpu").clip
    refused(folder, "captioner", "captioner")


def test_sizes_for_people() -> None:
    assert [hub.human(n) for n in (4_267_000_000, 991_000_000, 10)] == ["4.3 GB", "991 MB", "1 MB"]


def test_another_diffusion_model_brings_its_own_settings() -> None:
    swapped = weights.load("mini", diffusion="sd21", clip="clip-b16")
    assert {kind: part.repo for kind, part in swapped.swapped.items()} == {
        "clip": presets.CHOICES["clip"]["clip-b16"].repo,
        "diffusion": presets.CHOICES["diffusion"]["sd21"].repo,
        "tiny_vae": presets.TAESD.repo,
    }
    other, mini = presets.PRESETS["sd21"], presets.PRESETS["mini"]
    assert (swapped.preset.image_size, swapped.preset.features, swapped.preset.matching) == (768, other.features, other.matching)
    assert swapped.preset.defaults.cross == other.defaults.cross
    assert swapped.preset.defaults.templates == mini.defaults.templates  # these are CLIP's
    with pytest.raises(InputError, match="diffusion must be one of sd14"):
        weights.load("mini", diffusion="clip-b16")
