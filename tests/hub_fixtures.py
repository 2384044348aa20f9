"""The stand-in hub as a pytest fixture, and tiny repositories on it in the layouts and with the key names of the real ones."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hub
import huggingface_hub
import pytest
import tiny
import torch
from safetensors.torch import load, save

from segwright import presets
from segwright.models import download, trouble
from segwright.models.repositories import File, Part

COMMIT = "{:040x}"
# As the hub's scheduler_config.json of each has it.
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
GENERATORS = {
    "sd-turbo": ("sd21", BETAS | {
        "_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon", "timestep_spacing": "trailing", "steps_offset": 1,
        "clip_sample": False, "interpolation_type": "linear", "set_alpha_to_one": False, "skip_prk_steps": True,
        "timestep_type": "discrete", "trained_betas": None, "use_karras_sigmas": False, "sigma_max": None, "sigma_min": None,
    }),
    "lcm": ("lcm", BETAS | {
        "_class_name": "LCMScheduler", "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 0,
        "clip_sample": False, "original_inference_steps": 50, "rescale_betas_zero_snr": False, "set_alpha_to_one": True,
        "thresholding": False, "trained_betas": None,
    }),
}  # fmt: skip
OLD_VAE = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub.Hub]:
    """An empty hub which the hub's client takes for huggingface.co, and an empty cache; waiting is cut short."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(trouble, "SILENCE", 0.4)
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    huggingface_hub.close_session()
    with hub.serving() as running:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running
    huggingface_hub.close_session()


@pytest.fixture(scope="session")
def repositories() -> dict[str, dict[str, bytes]]:
    """The files of each network of a preset as the hub has them: network -> name -> contents."""
    with tempfile.TemporaryDirectory() as folder:
        root = tiny.preset(Path(folder))
        found = {name: read(root / name) for name in presets.NETWORKS if name != "diffusion"}
        parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
        found["diffusion"] = {f"{part}/{name}": data for part in parts for name, data in read(root / part).items()}
        found["diffusion"]["model_index.json"] = (root / "model_index.json").read_bytes()
    found["diffusion"] = {name: _old(name, data) for name, data in found["diffusion"].items()}
    for network in ("clip", "groupvit"):
        found[network]["model.safetensors"] = with_position_ids(found[network]["model.safetensors"])
    found["captioner"]["model.safetensors"] = blip(found["captioner"]["model.safetensors"])
    return found


@pytest.fixture(scope="session")
def few_steps() -> dict[str, dict[str, bytes]]:
    """The files of each of ``presets.FEW_STEPS``."""
    found = {}
    for name, (shape, schedule) in GENERATORS.items():
        with tempfile.TemporaryDirectory() as folder:
            root = tiny.diffusion(Path(folder), shape)
            (root / "scheduler/scheduler_config.json").write_text(json.dumps(schedule), "utf8")
            found[name] = read(root)
    return found


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _old(name: str, data: bytes) -> bytes:
    """The autoencoder's attention under the names that SD 1.4 and 1.5 have on the hub; position_ids in the text encoder."""
    if name == "vae/diffusion_pytorch_model.safetensors":
        return renamed(data, OLD_VAE)
    return with_position_ids(data) if name == "text_encoder/model.safetensors" else data


def renamed(data: bytes, names: dict[str, str]) -> bytes:
    tensors = {}
    for key, value in load(data).items():
        for new, old in names.items():
            key = key.replace(new, old) if "attentions" in key else key
        tensors[key] = value
    return save(tensors, {"format": "pt"})


def with_position_ids(data: bytes) -> bytes:
    """The buffers that older transformers saved beside every position embedding."""
    tensors = load(data)
    for key in [key for key in tensors if key.endswith("position_embedding.weight")]:
        ids = torch.arange(len(tensors[key]))[None]
        tensors[key.replace("position_embedding.weight", "position_ids")] = ids
    return save(tensors, {"format": "pt"})


def blip(data: bytes) -> bytes:
    """BLIP as the hub's converter leaves it: the head tied to the embedding is there once more, and position_ids."""
    tensors = load(data)
    words = tensors["text_decoder.bert.embeddings.word_embeddings.weight"]
    tensors["text_decoder.cls.predictions.decoder.weight"] = words.clone()
    tensors["text_decoder.cls.predictions.decoder.bias"] = tensors["text_decoder.cls.predictions.bias"].clone()
    positions = len(tensors["text_decoder.bert.embeddings.position_embeddings.weight"])
    tensors["text_decoder.bert.embeddings.position_ids"] = torch.arange(positions)[None]
    return save(tensors, {"format": "pt"})


def pickled(data: bytes) -> bytes:
    out = io.BytesIO()
    torch.save(load(data), out)
    return out.getvalue()


def part_of(repo: str, files: dict[str, bytes], number: int, **extra: object) -> Part:
    """A part that says of these files what they are."""
    listed = tuple(File(name, len(data)) for name, data in files.items())
    return replace(Part(repo, COMMIT.format(number), "CC0", listed), **extra)


@pytest.fixture
def stocked(
    served: hub.Hub,
    repositories: dict[str, dict[str, bytes]],
    few_steps: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> hub.Hub:
    """The hub with every repository of preset sd15, tiny; converted parts have their safetensors in a pull request."""
    parts = {}
    for number, (network, part) in enumerate(presets.PRESETS["sd15"].parts.items(), 1):
        half = {file.name: halved(repositories[network][file.name.replace(".fp16.", ".")]) for file in part.half}
        parts[network] = stock(served, part, repositories[network] | half, number)
    chosen = replace(presets.PRESETS["sd15"], parts=parts)
    monkeypatch.setitem(presets.PRESETS, "sd15", chosen)
    monkeypatch.setitem(presets.PRESETS, "sd15-fast", replace(presets.faster(chosen), name="sd15-fast"))
    for number, name in enumerate(("clip-b16", "clip-l14"), 20):
        monkeypatch.setitem(presets.CHOICES["clip"], name, stock(served, presets.CLIPS[name], repositories["clip"], number))
    for number, (name, files) in enumerate(few_steps.items(), 30):
        generator = presets.FEW_STEPS[name]
        monkeypatch.setitem(presets.FEW_STEPS, name, replace(generator, part=stock(served, generator.part, files, number)))
    return served


def stock(served: hub.Hub, part: Part, files: dict[str, bytes], number: int) -> Part:
    """Put a part's files on the hub under its own revision, and the weights of a converted one into pull request 7."""
    kept = {name: data for name, data in files.items() if name in {f.name for f in (*part.files, *part.half)}}
    commit = COMMIT.format(number) if part.revision == "main" else part.revision
    small = {name: data for name, data in kept.items() if not name.endswith(".safetensors")}
    served.add(part.repo, (small if part.converted else kept) | {"README.md": b"#", "tf_model.h5": b"x" * 3000}, commit)
    if part.converted:
        served.offer(part.repo, 3, {"README.md": b"other"}, author="stranger")
        served.offer(part.repo, 7, {"model.safetensors": kept["model.safetensors"]})
    full, half = (tuple(File(f.name, len(kept[f.name])) for f in fs if f.name in kept) for fs in (part.files, part.half))
    return replace(part, files=full, half=half)


def halved(data: bytes) -> bytes:
    return save({k: v.half() if v.is_floating_point() else v for k, v in load(data).items()}, {"format": "pt"})
