"""Memory of things that grow with photos, pictures or pixels, each in a process of its own.

    python benchmarks/bounds.py [texts] [support] [parts] [explain] [--photos 2000] [--pictures 32] [--threads 2]

texts: what CLIP remembers of prompts when OVDiff's pre-filter asks for COCO's 80 words over many photos, each with other
combinations (a text tower of no cost stands in for CLIP's).
support: features of support pictures at Stable Diffusion 1.5's size, random weights, and prototypes of both sides: the peak above
the networks. parts: the same from features of that size drawn at random, without networks: many pictures in little time.
explain: OVDiff's page for a photo of 12 megapixels in which ten things take part, on preset mini: the peak above the networks.

Peaks are the process's largest resident size (Linux: VmHWM).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import torch
from pipeline import forget_peak, memory

from segwright.methods.ovdiff.averaging import build_sides
from segwright.methods.ovdiff.method import OVDiff
from segwright.methods.ovdiff.support import SupportSettings, _Extracted
from segwright.models.clip import Clip
from segwright.models.pixels import Pixels
from segwright.models.sampling import SamplingSettings
from segwright.selfcheck.random_networks import networks
from segwright.words.prefilter import prefilter
from segwright.words.vocabulary import load as load_words

WIDTH = 512  # OpenAI's B/16
THINGS = ("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow")


class StandIn(Clip):
    """A text tower of no cost: random vectors."""

    def __init__(self) -> None:
        model = SimpleNamespace(config=SimpleNamespace(projection_dim=WIDTH), device=torch.device("cpu"))
        super().__init__(model, None, Pixels(224))
        self.draw = torch.Generator().manual_seed(0)

    def _texts_tower(self, prompts: list[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(len(prompts), WIDTH, generator=self.draw), dim=1)


def texts(photos: int) -> None:
    clip, words, draw = StandIn(), load_words("coco-object").words, torch.Generator().manual_seed(1)
    prefilter(torch.randn(WIDTH, generator=draw), words, clip.embed_texts)
    before, begun = memory("VmRSS"), time.perf_counter()
    for _ in range(photos):
        prefilter(torch.nn.functional.normalize(torch.randn(WIDTH, generator=draw), dim=0), words, clip.embed_texts)
    held = sum(v.untyped_storage().nbytes() + sys.getsizeof(v) for v in clip._texts.values())
    held += sum(sys.getsizeof(word) + sys.getsizeof((word, key)) for word, key in clip._texts) + sys.getsizeof(clip._texts)
    took = time.perf_counter() - begun
    grew = (memory("VmRSS") - before) * 1024
    print(
        f"  texts, {len(words)} words over {photos} photos: {len(clip._texts)} prompts remembered in {held / 2**20:.1f} MiB; "
        f"the process grew by {grew:.0f} MiB, {took:.0f} s",
        flush=True,
    )


class Drawn:
    """Features of SD 1.5's size, 7680 channels on 64x64 cells, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.randn(7680, 64, 64, generator=torch.Generator().manual_seed(index))


def parts(pictures: int) -> None:
    masks = torch.rand(pictures, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5
    forget_peak()
    before, begun = memory("VmRSS"), time.perf_counter()
    build_sides(Drawn(pictures), {"foreground": masks, "background": ~masks})
    peak, took = memory("VmHWM") - before, time.perf_counter() - begun
    print(f"  parts, {pictures} pictures: peak {peak:.2f} GiB above {before:.2f}, {took:.0f} s", flush=True)


def support(pictures: int) -> None:
    nets = networks(torch.float32, channels_last=True)
    draw = np.random.default_rng(0)
    drawn = [draw.integers(0, 256, (512, 512, 3), np.uint8) for _ in range(pictures)]
    masks = torch.rand(pictures, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5
    nets.diffusion  # noqa: B018
    forget_peak()
    before, begun = memory("VmRSS"), time.perf_counter()
    made = build_sides(_Extracted("sd", nets, drawn), {"foreground": masks, "background": ~masks})
    peak, took = memory("VmHWM") - before, time.perf_counter() - begun
    size = tuple(made["foreground"].vectors.shape)
    print(f"  support, {pictures} pictures: prototypes {size}, peak {peak:.2f} GiB above {before:.2f}, {took:.0f} s", flush=True)


def explain(pixels: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        how = SupportSettings(pictures=2, batch=2, sampling=SamplingSettings(steps=2, guidance=3.0, negative=""), parts=32)
        method = OVDiff.load("mini", "cpu", bank=f"{folder}/bank", support=how, candidates="none")
        method.prepare(THINGS, lambda *_: None)
        photo = np.random.default_rng(0).integers(0, 256, (*pixels, 3), np.uint8)
        method(photo[:64, :64].copy(), THINGS)
        forget_peak()
        before, begun = memory("VmRSS"), time.perf_counter()
        page = method.explain(photo, THINGS).html()
    peak, took = memory("VmHWM") - before, time.perf_counter() - begun
    print(
        f"  explain, {pixels[0] * pixels[1] / 1e6:.0f} megapixels, {len(THINGS)} things: peak {peak:.2f} GiB above {before:.2f}, "
        f"a page of {len(page) / 1e6:.1f} MB, {took:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["texts", "support", "parts", "explain"])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=("texts", "support", "parts", "explain"), help="internal: one run in this process")
    options = parser.parse_args()
    if options.one is None:
        for name in options.what:
            command = [sys.executable, __file__, "--one", name, "--photos", str(options.photos)]
            subprocess.run([*command, "--pictures", str(options.pictures), "--threads", str(options.threads)], check=True)
        return
    torch.set_num_threads(options.threads)
    if options.one == "texts":
        texts(options.photos)
    elif options.one == "support":
        support(options.pictures)
    elif options.one == "parts":
        parts(options.pictures)
    else:
        explain((3000, 4000))


if __name__ == "__main__":
    main()
