import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from segwright.errors import InputError
from segwright.regions.kmeans import kmeans

torch.set_num_threads(1)  # these are small products


def blobs(count: int, channels: int, side: int = 16, spread: float = 0.05, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, side, side) features around ``count`` centres far apart, and the truth."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(count, channels, generator=rng), dim=1) * 10
    truth = torch.randint(0, count, (side, side), generator=rng)
    return (centres[truth] + spread * torch.randn(side, side, channels, generator=rng)).permute(2, 0, 1), truth


def same_partition(a: torch.Tensor, b: torch.Tensor) -> bool:
    pairs = {(int(x), int(y)) for x, y in zip(a.flatten(), b.flatten(), strict=True)}
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


@pytest.mark.parametrize("channels", [3, 700])
def test_well_separated_blobs_are_found_exactly(channels: int) -> None:
    features, truth = blobs(5, channels)
    found = kmeans(features, clusters=5)[0]
    assert found.regions.count == 5
    assert same_partition(found.regions.labels, truth)


@pytest.mark.parametrize(("channels", "clusters"), [(6, 4), (900, 4), (40, 9)])
def test_inertia_is_as_low_as_sklearns(channels: int, clusters: int) -> None:
    features = torch.randn(channels, 16, 16, generator=torch.Generator().manual_seed(1)).cumsum(1).cumsum(2)
    points = features.flatten(1).T.numpy()
    theirs = KMeans(clusters, n_init=10, random_state=0).fit(points)
    ours = kmeans(features, clusters=clusters, restarts=10)[0]
    assert ours.inertia <= theirs.inertia_ * 1.01
    labels = ours.regions.labels.flatten().numpy()
    direct = sum(((points[labels == k] - points[labels == k].mean(0)) ** 2).sum() for k in range(clusters))
    assert ours.inertia == pytest.approx(direct, rel=1e-4)


@pytest.mark.parametrize("channels", [5, 600])
def test_distances_are_squared_distances_to_the_regions_means(channels: int) -> None:
    features = torch.randn(channels, 12, 12, generator=torch.Generator().manual_seed(2))
    found = kmeans(features, clusters=3)[0]
    points, labels = features.flatten(1).T, found.regions.labels.flatten()
    means = torch.stack([points[labels == k].mean(0) for k in range(3)])
    expected = torch.cdist(points.double(), means.double()).square().T
    torch.testing.assert_close(found.distances.flatten(1).double(), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(found.distances.argmin(0), found.regions.labels)


@pytest.mark.parametrize("channels", [8, 300])
def test_a_photo_gives_the_same_alone_and_in_any_batch(channels: int) -> None:
    batch = torch.randn(5, channels, 14, 14, generator=torch.Generator().manual_seed(3))
    together = kmeans(batch, clusters=4)
    for i in range(5):
        alone = kmeans(batch[i], clusters=4)[0]
        assert torch.equal(alone.regions.labels, together[i].regions.labels)
    turned = kmeans(batch.flip(0), clusters=4)
    assert torch.equal(turned[0].regions.labels, together[4].regions.labels)


def test_the_seed_decides() -> None:
    features = torch.randn(1, 20, 10, 10, generator=torch.Generator().manual_seed(4))
    first, again = kmeans(features, restarts=1, seed=7)[0], kmeans(features, restarts=1, seed=7)[0]
    assert torch.equal(first.regions.labels, again.regions.labels)
    others = [kmeans(features, restarts=1, seed=s)[0].inertia for s in range(8)]
    assert len(set(others)) > 1
    assert kmeans(features, restarts=8)[0].inertia <= min(others) * 1.05


def test_regions_are_numbered_as_they_are_met() -> None:
    found = kmeans(blobs(4, 3)[0], clusters=4)[0].regions.labels.flatten().tolist()
    assert list(dict.fromkeys(found)) == [0, 1, 2, 3]


def test_fewer_different_cells_than_clusters_give_fewer_regions() -> None:
    flat = torch.ones(7, 8, 8)
    assert kmeans(flat, clusters=4)[0].regions.count == 1
    halves = torch.cat([torch.zeros(7, 8, 4), torch.ones(7, 8, 4)], 2)
    found = kmeans(halves, clusters=4)[0]
    assert found.regions.count == 2
    assert found.inertia == pytest.approx(0, abs=1e-4)


def test_as_many_clusters_as_cells() -> None:
    features = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    assert kmeans(features, clusters=6)[0].regions.count == 6


def test_normalising_ignores_length() -> None:
    direction = torch.nn.functional.normalize(torch.randn(9, 9, 6, generator=torch.Generator().manual_seed(5)), dim=2)
    length = torch.rand(9, 9, 1, generator=torch.Generator().manual_seed(6)) + 0.5
    a = kmeans((direction * length).permute(2, 0, 1), normalise=True)[0]
    b = kmeans(direction.permute(2, 0, 1))[0]
    assert same_partition(a.regions.labels, b.regions.labels)


def test_nearest_repeats_cells_and_soft_is_clustering_interpolated_features() -> None:
    features = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(8)).cumsum(1)
    found = kmeans(features, clusters=3)[0]
    nearest = found.nearest((16, 24))
    assert torch.equal(nearest.labels, found.regions.labels.repeat_interleave(2, 0).repeat_interleave(3, 1))
    labels = found.regions.labels.flatten()
    means = torch.stack([features.flatten(1).T[labels == k].mean(0) for k in range(3)])
    wide = torch.nn.functional.interpolate(features[None], (40, 31), mode="bilinear", align_corners=False)[0]
    expected = torch.cdist(wide.flatten(1).T, means).argmin(1).view(40, 31)
    assert (found.soft((40, 31)).labels == expected).float().mean() > 0.999


@pytest.mark.parametrize("settings", [{"clusters": 17}, {"clusters": 0}, {"restarts": 0}, {"iterations": 0}])
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InputError):
        kmeans(torch.randn(3, 4, 4), **settings)


@pytest.mark.parametrize(
    "features", [torch.full((3, 4, 4), float("nan")), torch.zeros(4, 4), torch.zeros(3, 4, 4, dtype=torch.long)]
)
def test_unusable_features_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(InputError):
        kmeans(features)


def test_half_precision_and_many_channels() -> None:
    features, truth = blobs(4, 2000, side=8)
    assert same_partition(kmeans(features.bfloat16())[0].regions.labels, truth)
    assert np.isfinite(kmeans(features.half())[0].inertia)


def feature_sets() -> list[torch.Tensor]:
    """20 drawn at random (blobs of unlike size and spread), and 20 of the U-Net on shipped scenes; (C, h, w) each."""
    from segwright.mini.voc import read_scenes
    from segwright.weights import load

    sets = []
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        centres = torch.randn(6, 12, generator=draw) * 2
        owner = torch.randint(6, (256,), generator=draw)
        points = centres[owner] + torch.randn(256, 12, generator=draw) * (0.3 + torch.rand(6, 1, generator=draw)[owner] * 2)
        sets.append(points.T.reshape(12, 16, 16))
    diffusion = load("mini", "cpu").diffusion
    features = diffusion.features(diffusion.pixels(read_scenes("val", 20).images), load("mini", "cpu").preset.features)
    return [*sets, *features]


def test_inertia_is_within_a_percent_of_scikit_learns_best_of_ten() -> None:
    """K = 4, ten starts on both sides."""
    from sklearn.cluster import KMeans

    worst = 0.0
    for features in feature_sets():
        points = features.flatten(1).T.double().numpy()
        theirs = KMeans(4, n_init=10, random_state=0).fit(points).inertia_
        worst = max(worst, kmeans(features, 4, restarts=10)[0].inertia / theirs - 1)
    assert worst < 0.01


def test_a_single_start_is_greedy() -> None:
    """Parts of OVDiff have one start: on average within 2 % of scikit-learn's single start of the same kind."""
    from sklearn.cluster import KMeans

    ours = theirs = 0.0
    for seed, features in enumerate(feature_sets()[:20]):
        points = features.flatten(1).T.double().numpy()
        theirs += KMeans(32, n_init=1, random_state=seed).fit(points).inertia_
        ours += kmeans(features, 32, restarts=1, seed=seed)[0].inertia
    assert ours / theirs < 1.02
