"""CLIP-ES: affinity and boxes against loops and hand-made examples; the whole on shipped scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods.clip_es import BACKGROUND_25, CLIPES, CLIPESSettings, affinity, boxes, spread
from segwright.metrics import confusion, miou
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.clip_dense import grad_cam, pixels
from segwright.weights import Networks, load
from segwright.words.presence import Chosen


@pytest.fixture(scope="module")
def networks() -> Networks:
    return load("mini", "cpu")


def test_affinity_is_sinkhorns_made_symmetric_and_walked() -> None:
    attention = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    a = attention.double().numpy().copy()
    for _ in range(3):
        for j in range(6):
            a[:, j] /= a[:, j].sum()
        for i in range(6):
            a[i] /= a[i].sum()
    s = np.array([[(a[i, j] + a[j, i]) / 2 for j in range(6)] for i in range(6)])
    expected = np.array([[sum(s[i, m] * s[m, j] for m in range(6)) for j in range(6)] for i in range(6)])
    np.testing.assert_allclose(affinity(attention, 3, 2).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(affinity(attention, 3, 1).numpy(), s, atol=1e-6)
    assert affinity(attention, 50, 1).sum(0).tolist() == pytest.approx([1] * 6, abs=1e-4)


def test_boxes_surround_the_parts_above_the_share() -> None:
    scores = torch.zeros(5, 7)
    scores[0, 0] = scores[1, 1] = 1.0  # one part: cells that touch at a corner
    scores[3, 4] = scores[4, 4] = scores[4, 6] = 0.5  # two parts
    scores[3, 0] = 0.4  # not above 0.4 of the maximum
    expected = torch.zeros(5, 7)
    expected[0:2, 0:2] = 1
    expected[3:5, 4] = 1
    expected[4, 6] = 1
    assert torch.equal(boxes(scores, 0.4), expected)
    assert not boxes(torch.zeros(3, 3), 0.4).any()


def test_maps_spread_from_inside_their_boxes_only() -> None:
    maps = torch.tensor([[[1.0, 0.3], [0.0, 0.0]]])
    walk = torch.arange(16.0).view(4, 4)
    assert spread(maps, walk, 0.4).flatten().tolist() == [0.0, 4.0, 8.0, 12.0]
    assert spread(maps, walk, 0.2).flatten().tolist() == pytest.approx([0.3, 5.5, 10.7, 15.9])


def test_scores_are_the_published_steps(networks: Networks) -> None:
    scene = read_scenes("val", 1)
    photo = scene.images[0][:100]
    method = CLIPES(networks, CLIPESSettings(background=("sand", "sky"), power=2.0))
    chosen = Chosen(None, (), THINGS, (1, 6))
    found = method.scores(photo, chosen)
    size = method.size(photo)
    assert size == (232, 288)  # a long edge of 500 * 128 / 224, both in whole patches of 8: 225 goes up
    texts = networks.clip.embed_texts([THINGS[1], THINGS[6], "sand", "sky"])
    cam = grad_cam(networks.clip, pixels(networks.clip, photo, size), texts, [0, 1], "patches", score="softmax", layers=8)
    assert cam.attention is not None
    walk = affinity(cam.attention[0], 3, 2)
    rows = []
    for m in cam.maps[0]:
        m = (m - m.min()) / (m.max() - m.min())
        refined = torch.stack([(walk[i] * boxes(m, 0.4).flatten() * m.flatten()).sum() for i in range(m.numel())]).view_as(m)
        refined = (refined - refined.min()) / (refined.max() - refined.min())
        rows.append(torch.nn.functional.interpolate(refined[None, None], size, mode="bilinear")[0, 0])
    rest = (1 - torch.maximum(*rows)) ** 2
    values = torch.stack([rest, *rows])
    wide = torch.nn.functional.interpolate((values / values.sum(0))[None], photo.shape[:2], mode="bilinear")[0]
    assert found.labels == (0, 2, 7)
    torch.testing.assert_close(found.values, wide / wide.sum(0), rtol=1e-3, atol=1e-4)


def test_finds_what_is_in_the_scenes(networks: Networks) -> None:
    """Told the labels, as the paper is; an empty map of these scenes scores about 0.04."""
    scenes = read_scenes("val", 6)
    method = CLIPES(networks, CLIPESSettings(candidates="none"))
    matrices = []
    for image, truth, note in zip(scenes.images, scenes.truths, scenes.notes, strict=True):
        result = method(image, note["things"])
        place = np.array([0, *(1 + THINGS.index(w) for w in result.words)])
        matrices.append(confusion(truth, place[result.labels], len(THINGS) + 1))
    assert miou(np.sum(matrices, axis=0)) > 0.2
    assert len(set(BACKGROUND_25)) == 25


@pytest.mark.parametrize("settings", [{"box": 1.0}, {"walks": -1}, {"power": 0}, {"long": 0}, {"layers": 0}], ids=str)
def test_bad_settings_are_refused(settings: dict) -> None:
    with pytest.raises(InputError):
        CLIPESSettings(**settings)
