"""Single heads of one pass against the recorder that makes every map, on all shapes of U-Net."""

from __future__ import annotations

import pytest
import tiny
import torch

from segwright.errors import InputError
from segwright.models.attention import Recorder, attached
from segwright.models.diffusion import Diffusion
from segwright.models.heads import Heads, attend, finest_up
from segwright.models.sites import find_sites
from segwright.weights import load


@pytest.fixture(scope="module", params=tiny.SHAPES)
def diffusion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Diffusion:
    return load(tiny.diffusion(tmp_path_factory.mktemp(request.param), request.param), "cpu").diffusion


def test_their_mean_is_what_the_recorder_sees(diffusion: Diffusion) -> None:
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    embedding = diffusion.embed(["a dog", "a cat on a sofa"])
    sites = [s for s in find_sites(diffusion.unet) if s.kind in ("attention", "cross")]
    recorders = {site.module: Recorder(keep=True) for site in sites}
    with torch.no_grad(), attached(recorders):
        diffusion.predict(latents, 100, embedding)
    before = [s.module.processor for s in sites]
    found = attend(diffusion, latents, 100, embedding, sites)
    assert [s.module.processor for s in sites] == before
    for site, heads in found.items():
        assert heads.count == site.module.heads
        assert heads.cells**2 == len(heads.head(0))
        for row in (0, 1):
            torch.testing.assert_close(heads.average(row=row), recorders[site.module].mean[row], rtol=1e-4, atol=1e-6)
            one = sum(heads.head(i, row) for i in range(heads.count)) / heads.count
            torch.testing.assert_close(heads.average(row=row), one)
        assert torch.equal(heads.average([1], 1), heads.head(1, 1))


def test_the_pass_goes_on_as_it_would(diffusion: Diffusion) -> None:
    """Attached for a whole pass they change nothing; ``attend`` ends the pass with the last of its layers."""
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    embedding = diffusion.embed(["a dog"])
    sites = [s for s in find_sites(diffusion.unet) if s.kind in ("attention", "cross")]
    with torch.no_grad():
        expected = diffusion.predict(latents, 10, embedding)
        with attached({s.module: Heads() for s in sites}):
            torch.testing.assert_close(diffusion.predict(latents, 10, embedding), expected, rtol=1e-4, atol=1e-5)
    late: list[int] = []
    handle = sites[-1].module.register_forward_hook(lambda *_: late.append(1))
    attend(diffusion, latents, 10, embedding, sites[:3])
    handle.remove()
    assert not late


def test_what_is_not_there_is_refused(diffusion: Diffusion) -> None:
    site = finest_up(diffusion.unet, [0])[0]
    heads = attend(diffusion, torch.zeros(1, 4, 16, 16), 0, diffusion.embed([""]), [site])[site]
    for indices in ([], [0, 9], [-1]):
        with pytest.raises(InputError, match=r"has heads 0\.\."):
            heads.average(indices)
    with pytest.raises(InputError, match=r"has 3 self-attention layers .* none of \[7\]"):
        finest_up(diffusion.unet, [7])
    with pytest.raises(RuntimeError, match="no pass"):
        _ = Heads().count


@pytest.mark.parametrize(("shape", "block"), [("sd1", 3), ("sd21", 3), ("xl", 1)])
def test_the_decoders_finest_layers(shape: str, block: int) -> None:
    """As the published codes name them; XL's block before its last is the finest that has attention."""
    found = finest_up(tiny.unet(shape), [1, 0, 5])
    assert [s.name.split(".transformer_blocks")[0] for s in found] == [f"up_blocks.{block}.attentions.{i}" for i in (1, 0)]


def test_mini_has_two() -> None:
    unet = load("mini", "cpu").diffusion.unet
    assert [s.resolution for s in finest_up(unet, [1, 0])] == [32, 32]
