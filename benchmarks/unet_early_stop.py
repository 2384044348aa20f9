"""How much a U-Net pass costs that stops when the features of resolution 16 are done, against the full pass.

Random weights in the size of Stable Diffusion 1.5, one photo, 64x64 latents. The two kinds of pass take turns, so
that a busy machine disturbs both alike. Usage: python benchmarks/unet_early_stop.py [--repeats 3] [--dtype float32]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from types import SimpleNamespace

import torch
from diffusers import UNet2DConditionModel

from segwright.models.diffusion import Diffusion, Embedding, FeatureSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def network(device: str, dtype: torch.dtype) -> Diffusion:
    """A ``Diffusion`` whose autoencoder and text encoder are left out: only the U-Net is timed."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)  # not made in float32 first: that would be the peak of memory
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval().requires_grad_(False)
    torch.set_default_dtype(torch.float32)
    unet.to(device, memory_format=torch.channels_last)
    vae = SimpleNamespace(config=SimpleNamespace(block_out_channels=(1, 1, 1, 1)))
    return Diffusion(unet, vae, (), (), {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", default="resblock", help="resblock, query, attention ...")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[16])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net = network(args.device, DTYPES[args.dtype])
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 64, 64, generator=rng).to(net.device, net.dtype)
    embedding = Embedding(torch.randn(1, 77, 768, generator=rng).to(net.device, net.dtype))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    found = {}
    for repeat in range(args.repeats + 1):  # the first is to warm up
        for early in (False, True):
            settings = FeatureSettings(args.kind, tuple(args.resolutions), early_stop=early)
            begun = time.perf_counter()
            with torch.no_grad():
                maps = net.maps(latents, embedding, settings)
            if net.device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                seconds[early].append(time.perf_counter() - begun)
            found[early] = torch.cat(list(maps.values()), 1)
    full, early = statistics.median(seconds[False]), statistics.median(seconds[True])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    where = f"{args.device}, {args.threads} thread(s)" if args.device == "cpu" else args.device
    what = f"{args.kind} at {args.resolutions}, median of {args.repeats}"
    print(f"U-Net of SD 1.5's size, random weights, {args.dtype}, {where}; {what}")
    print(f"  full pass       {full:7.3f} s   {[round(s, 3) for s in seconds[False]]}")
    print(f"  stopping early  {early:7.3f} s   {[round(s, 3) for s in seconds[True]]}")
    print(f"  ratio           {full / early:7.2f}     same bits: {torch.equal(found[True], found[False])}")
    print(f"  peak memory of the process {peak:.2f} GB")


if __name__ == "__main__":
    main()
