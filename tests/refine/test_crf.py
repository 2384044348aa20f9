"""Dense CRF against pydensecrf, where it is installed, and against dense matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from segwright.errors import InputError
from segwright.refine import CRF, CRF_CONSTANTS, REFINERS, CRFSettings, crf, crf_batch, crf_binary, crf_filter
from segwright.types import Scores

VOC = Path(__file__).parents[3] / "shared/testdata/VOCdevkit/VOC2012"
PHOTOS = 3  # of the 58; benchmarks/crf.py compares them all
Photo = NDArray[np.uint8]


def random_photo(height: int, width: int, labels: int, seed: int = 0) -> tuple[Photo, Scores]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    image = coarse.repeat(8, 0).repeat(8, 1)[:height, :width] // 2 + rng.integers(0, 40, (height, width, 3), np.uint8)
    values = torch.from_numpy(rng.dirichlet(np.full(labels, 0.5), (height, width))).float().permute(2, 0, 1)
    return image.astype(np.uint8), scores_of(values)


def scores_of(values: torch.Tensor) -> Scores:
    return Scores(tuple(f"w{i}" for i in range(30)), tuple(range(len(values))), values)


def voc_photo(stem: str, seed: int) -> tuple[Photo, Scores]:
    """A photo with its true mask 16 times coarser, and noise."""
    image = np.array(Image.open(VOC / f"JPEGImages/{stem}.jpg").convert("RGB"))
    truth = torch.from_numpy(np.array(Image.open(VOC / f"SegmentationClass/{stem}.png"))).long()
    masks = (truth == torch.arange(21)[:, None, None]).float()[None]
    size = truth.shape
    coarse = interpolate(masks, scale_factor=1 / 16, mode="area")
    noise = torch.rand(21, *size, generator=torch.Generator().manual_seed(seed))
    values = 0.6 * interpolate(coarse, size, mode="bilinear")[0] + 0.4 * noise / noise.sum(0)
    return image, scores_of(values / values.sum(0))


def reference(image: Photo, values: NDArray[np.float32], settings: CRFSettings) -> NDArray[np.float32]:
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")
    utils = pytest.importorskip("pydensecrf.utils")
    model = densecrf.DenseCRF2D(values.shape[2], values.shape[1], len(values))
    if settings.gt_prob is None:
        unary = utils.unary_from_softmax(np.ascontiguousarray(values))
    else:
        unary = utils.unary_from_labels(values.argmax(0), len(values), settings.gt_prob, zero_unsure=False)
    model.setUnaryEnergy(unary)
    model.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_compat)
    model.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=settings.bilateral_compat,
    )
    return np.array(model.inference(settings.iterations)).reshape(values.shape)


@pytest.mark.parametrize("preset", CRF_CONSTANTS)
def test_probabilities_agree_with_pydensecrf(preset: str) -> None:
    image, scores = random_photo(61, 83, 5)
    wanted = reference(image, scores.values.numpy(), CRF_CONSTANTS[preset])
    got = crf(image, scores, settings=preset).values.numpy()
    assert (got.argmax(0) == wanted.argmax(0)).mean() >= 0.995
    assert np.abs(got - wanted).mean() < 1e-3


def test_labels_agree_with_pydensecrf_on_voc_photos() -> None:
    stems = sorted(path.stem for path in (VOC / "JPEGImages").glob("*.jpg"))[:PHOTOS]
    if not stems:
        pytest.skip(f"no VOC photos in {VOC}")
    for seed, stem in enumerate(stems):
        image, scores = voc_photo(stem, seed)
        wanted = reference(image, scores.values.numpy(), CRFSettings()).argmax(0)
        got = crf(image, scores).argmax().numpy()
        assert (got == wanted).mean() >= 0.995, stem
        assert (got != scores.argmax().numpy()).mean() > 0.005, f"nothing to refine in {stem}"


def test_binary_is_one_two_label_crf_a_label() -> None:
    image, _ = random_photo(40, 52, 1)
    blocks = torch.randint(4, (5, 7), generator=torch.Generator().manual_seed(0))
    blocks = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)[:, :52]
    scores = scores_of((blocks == torch.arange(4)[:, None, None]).float())
    settings = CRFSettings(5, 3.0, 5.0, 20.0, 20.0, 5.0, gt_prob=0.9)
    strongest = scores.values.argmax(0)
    inside = []
    for label in range(1, 4):
        mask = (strongest == label).float()
        inside.append(reference(image, torch.stack([1 - mask, mask]).numpy(), settings)[1])
    found = np.stack(inside)
    wanted = np.where(found.max(0) > 0.5, found.argmax(0) + 1, 0)
    got = crf_binary(image, scores, settings=settings)
    assert len(np.unique(wanted)) > 2
    assert (got.argmax().numpy() == wanted).mean() >= 0.995
    rows = np.concatenate([1 - found.max(0, keepdims=True), found])
    assert np.abs(got.values.numpy() - rows / rows.sum(0)).max() < 1e-2


def test_noise_is_removed_and_edges_are_kept() -> None:
    """Two flat halves whose scores are right at 70 % of the pixels."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = (200, 40, 90)
    truth = torch.arange(60).expand(40, 60) >= 30
    right = torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < 0.7
    second = torch.where(truth == right, 0.7, 0.3)
    refined = crf(image, scores_of(torch.stack([1 - second, second])))
    assert torch.equal(refined.argmax() == 1, truth)


def test_output_is_scores_of_the_same_labels_and_input_is_kept() -> None:
    image, scores = random_photo(20, 31, 3)
    scores = Scores(scores.words, (0, 4, 17), scores.values)
    before, photo = scores.values.clone(), image.copy()
    image.flags.writeable = False
    for refine in (crf, crf_binary, lambda i, s: crf(i, s, gt_prob=0.7)):
        refined = refine(image, scores)
        assert (refined.words, refined.labels) == (scores.words, (0, 4, 17))
        assert refined.values.shape == (3, 20, 31)
        assert torch.allclose(refined.values.sum(0), torch.ones(20, 31), atol=1e-5)
        assert torch.equal(refined.values, refine(image, scores).values), "not deterministic"
    assert torch.equal(scores.values, before)
    assert np.array_equal(image, photo)


def test_batch_equals_one_by_one() -> None:
    pairs = [random_photo(24, 30, 3, 0), random_photo(24, 30, 7, 1), random_photo(17, 30, 3, 2)]
    together = crf_batch([image for image, _ in pairs], [scores for _, scores in pairs], settings="cutler")
    for (image, scores), refined in zip(pairs, together, strict=True):
        assert torch.equal(refined.values, crf(image, scores, settings=CRF_CONSTANTS["cutler"]).values)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("labels", [1, 2, 9])
def test_smallest_photos_and_any_number_of_labels(size: tuple[int, int], labels: int) -> None:
    image, scores = random_photo(*size, labels)
    for refine in (crf, crf_binary):
        assert refine(image, scores).values.shape == (labels, *size)


def test_zero_probabilities_stay_finite() -> None:
    values = torch.zeros(2, 8, 8)
    values[0] = 1
    refined = crf(np.zeros((8, 8, 3), np.uint8), scores_of(values))
    assert float(refined.values[0].min()) > 0.99


@pytest.mark.parametrize(
    "setting",
    [{"iterations": 0}, {"iterations": 2.5}, {"gaussian_sxy": 0}, {"bilateral_srgb": -1.0}, {"bilateral_compat": "10"}]
    + [{"bilateral_sxy": float("nan")}, {"gt_prob": 1.0}, {"gt_prob": 0.0}, {"settings": "deeplabv9"}]
    + [{"settings": "cutler", "iterations": 3}],
)
def test_settings_that_cannot_be_used(setting: dict[str, object]) -> None:
    image, scores = random_photo(4, 5, 2)
    with pytest.raises(InputError):
        crf(image, scores, **setting)  # type: ignore[arg-type]


def test_input_that_cannot_be_used() -> None:
    image, scores = random_photo(4, 5, 2)
    with pytest.raises(InputError, match="one size, got 4x5 and 5x4"):
        crf(image.transpose(1, 0, 2), scores)
    with pytest.raises(InputError, match="Scores"):
        crf(image, scores.values)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="uint8"):
        crf(image.astype(np.float32), scores)
    with pytest.raises(InputError, match="2 photos and 1"):
        crf_batch([image, image], [scores])
    with pytest.raises(InputError, match="list"):
        crf_batch(image, scores)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gt_prob"):
        crf_binary(image, scores, settings="cutler")


def test_refiners_are_callable_alike() -> None:
    image, scores = random_photo(6, 7, 2)
    for kind in REFINERS.values():
        if not kind.kinds:
            assert kind()(image, scores).values.shape == (2, 6, 7)
    assert torch.equal(CRF()(image, scores).values, crf(image, scores).values)
    hard = CRF.of("freeseg-diff", binary=True)
    assert torch.equal(hard(image, scores).values, crf_binary(image, scores).values)


def test_a_photos_filter_can_be_kept_and_gives_the_same_bits() -> None:
    image, scores = random_photo(24, 30, 5)
    kernel = crf_filter(image, scores.values.device)
    _, others = random_photo(24, 30, 3, seed=1)
    for item in (scores, others, scores):
        assert torch.equal(crf_binary(image, item, kernel=kernel).values, crf_binary(image, item).values)
    tables = [kernel.splat, *(table for blurs in kernel.blurs for table in blurs)]
    held = [kernel.reads, kernel.shares, *(t for table in tables for t in (table.rows, table.weights, table.starts))]
    assert kernel.nbytes == sum(t.numel() * t.element_size() for t in held)
    with pytest.raises(InputError, match="one of 720 pixels for 744"):
        crf_binary(random_photo(24, 31, 2)[0], random_photo(24, 31, 2)[1], kernel=kernel)
