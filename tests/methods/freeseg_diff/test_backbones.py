"""FreeSeg-Diff's Fig. 3: which backbones, their features and clusters beside scikit-learn's, colours that go together."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from sklearn.cluster import KMeans

from segwright import weights
from segwright.cli import main
from segwright.errors import InputError
from segwright.methods.freeseg_diff import backbones
from segwright.methods.freeseg_diff.method import FreeSegDiffSettings
from segwright.models.diffusion import FeatureSettings
from segwright.presets import VITS
from segwright.weights import Networks

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
SETTINGS = FreeSegDiffSettings(clusters=3, features=FeatureSettings(size=16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.preset(tmp_path_factory.mktemp("preset"))


@pytest.fixture(scope="module")
def networks(folder: Path) -> Networks:
    return weights.load(folder, "cpu")


def test_every_backbone_of_a_folder_last_and_penultimate_layer(networks: Networks) -> None:
    """Each network's own features at the diffusion model's cells; inertia within 3 % of scikit-learn's (noise has no clusters)."""
    rows = list(backbones.shown(PHOTO, networks, SETTINGS))
    assert [row.name for row in rows] == ["Stable Diffusion"] + [n for n in ("CLIP's ViT", "ViT", "DINO", "MAE") for _ in "12"]
    assert {row.layer for row in rows[1:]} == {"last layer", "penultimate layer"}
    own = {
        "CLIP's ViT": networks.clip.patch_features, "ViT": networks.vit.features,
        "DINO": networks.dino.features, "MAE": networks.mae.features,
    }  # fmt: skip
    for row in rows:
        assert row.features.shape[1:] == (16, 16)
        assert row.regions.shape == (60, 90)
        if row.name in own:
            layer = {"last layer": -1, "penultimate layer": -2}[row.layer]
            maps = torch.nn.functional.interpolate(own[row.name]([PHOTO], layer), (16, 16), mode="bilinear")[0]
            assert torch.equal(maps, row.features)
        points = row.features.flatten(1).T.double().numpy()
        ys, xs = ((np.arange(16) + 0.5) / 16 * side for side in (60, 90))
        labels = row.regions[ys.astype(int)][:, xs.astype(int)].ravel()  # nearest neighbour: a cell's middle has its label
        inertia = sum(float(((points[labels == k] - points[labels == k].mean(0)) ** 2).sum()) for k in set(labels))
        assert inertia <= KMeans(3, n_init=10, random_state=0).fit(points).inertia_ * 1.03


def test_from_the_hub_the_papers_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sec. 4.2: ViT, DINOv2, CLIP and Stable Diffusion; each plain ViT from its own repository, and nothing is fetched here."""
    asked: list[str] = []
    monkeypatch.setattr(weights.hub, "fetch", lambda parts, how: asked.extend(part.repo for part in parts))
    hub = weights.load("sd15", "cpu")
    found = backbones.transformers(hub)
    assert [name for name, _, _ in found] == ["DINOv2", "ViT"]
    assert [owner.part(kind) for _, kind, owner in found] == [VITS["dinov2"], VITS["vit"]]
    backbones.fetch(hub)
    assert {repo.partition("/")[2] for repo in asked} == {
        "stable-diffusion-v1-5", "clip-vit-base-patch32", "dinov2-base", "vit-base-patch16-224",
    }  # fmt: skip


def test_colours_go_together() -> None:
    """The renumbering that most pixels agree with, of all that there are."""
    draw = np.random.default_rng(1)
    for _ in range(5):
        like, regions = draw.integers(0, 4, (2, 12, 12))
        found = backbones.renumbered(regions, like)
        best = max((np.array(order)[regions] == like).sum() for order in permutations(range(4)))
        assert (found == like).sum() == best
        pairs = {(int(a), int(b)) for a, b in zip(regions.ravel(), found.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "no two regions became one"


def test_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    given = ["explain", str(tmp_path / "photo.png"), "--backbones", "--preset", str(folder), "--device", "cpu", "--clusters", "3"]
    assert main([*given, "-o", str(tmp_path)]) == 0
    page = (tmp_path / "photo.html").read_text("utf8")
    assert page.count("<img ") == 1 + 2 * 9
    assert "K = 3" in page
    assert "http" not in page, "it opens without a network"
    assert main([*given, "--words", "dog", "-o", str(tmp_path)]) == 2
    assert main([*given, "--method", "ovdiff", "-o", str(tmp_path)]) == 2
    assert "leave --method out" in capsys.readouterr().err
    with pytest.raises(InputError, match="clusters must lie in"):
        backbones.page(PHOTO, weights.load(folder, "cpu"), FreeSegDiffSettings(clusters=10_000))
