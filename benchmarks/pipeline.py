"""The whole FreeSeg-Diff pipeline at Stable Diffusion 1.5's size beside a plain baseline, in one run.

    python benchmarks/pipeline.py [--voc VOC2012] [--photos 4] [--repeats 1] [--threads 2] [--clock wall|cpu]

Ours, in float32 one photo at a time and then in bfloat16 with batches of 4, takes turns with the baseline photo by photo
(batch by batch). Every variant is a process of its own, so that its peak memory can be told; the others wait meanwhile.
The baseline: full U-Net pass, one photo at a time, CLIP region by region, scikit-learn's k-means with the same starts,
a CRF for each label of the vocabulary, in the photo or not (pydensecrf where it is installed), networks as diffusers
gives them (no channels-last), float32.

Networks are random, made from the published configurations with one seed: U-Net, autoencoder and text encoder of SD 1.5,
CLIP ViT-B/32, BLIP base. Their words would mean nothing, and one word for all regions would leave the refiner without
work. So caption and names are computed, and timed, and then replaced: the caption by ``CAPTION``, the names by its four
nouns, one a region, in both variants. BLIP without knowledge never ends its sentence: it writes as many tokens as it may.

A CPU without bfloat16 units is many times slower in bfloat16 than in float32: ``--only float32`` leaves that half out.

"Same masks": the final label maps' mean IoU after the best match of labels, since k-means numbers regions at random.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.optimize import linear_sum_assignment

from segwright.methods.freeseg_diff import method as freeseg_diff
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.methods.freeseg_diff.naming import Named
from segwright.models.diffusion import FeatureSettings
from segwright.refine import CRF_CONSTANTS as CRFS
from segwright.refine import crf
from segwright.selfcheck.random_networks import networks
from segwright.types import Image, Scores
from segwright.weights import Networks
from segwright.words.candidates import candidates
from segwright.words.nouns import keywords
from segwright.words.presence import Chosen
from segwright.words.vocabulary import load as load_words

CAPTION = "a dog and a cat on a sofa beside a person"
WORDS = load_words("voc").words
CLUSTERS, RESTARTS, SEED, BATCH = 4, 10, 0, 4
STAGES = ("caption", "autoencoder", "U-Net", "k-means", "names", "refinement")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
VARIANTS = {"baseline": "float32", "float32": "float32", "bfloat16": "bfloat16"}
Labels = NDArray[np.int64]


# --- clocks


class Clock:
    """Seconds by stage."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begun = self.now()
        yield
        self.seconds[stage] += self.now() - begun

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Count every call of ``owner.name`` to ``stage``."""
        function = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            with self(stage):
                return function(*args, **options)

        setattr(owner, name, timed)


def watch(made: Networks, clock: Clock) -> None:
    """Put the clock on the networks; the captioner's words are replaced once they are there."""
    captioner = made.captioner
    clock.watch(captioner, "caption", "caption")
    timed = captioner.caption
    vars(captioner)["caption"] = lambda images: [CAPTION for _ in timed(images)]
    clock.watch(made.diffusion, "encode", "autoencoder")
    clock.watch(made.diffusion, "maps", "U-Net")
    clock.watch(made.clip, "embed_masked", "names")
    clock.watch(made.clip, "embed_texts", "names")


# --- the two pipelines: photos -> label maps


class Ours(FreeSegDiff):
    """The method as it is, but for the names of regions."""

    def names(self, images: Sequence[Image], regions: Sequence[torch.Tensor], chosen: Sequence[Chosen]) -> list[list[Named]]:
        found = super().names(images, regions, chosen)
        return [
            [Named(c.candidates[k] + 1, c.candidates[k], n.ranking) for k, n in enumerate(row)]
            for row, c in zip(found, chosen, strict=True)
        ]


def ours(made: Networks, clock: Clock) -> Callable[[Sequence[Image]], list[Labels]]:
    method = Ours(made, FreeSegDiffSettings(clusters=CLUSTERS, restarts=RESTARTS, seed=SEED))
    clock.watch(freeseg_diff, "kmeans", "k-means")

    def work(images: Sequence[Image]) -> list[Labels]:
        steps = method.steps(images, WORDS)
        with clock("refinement"):
            return [np.asarray(method.finish(s).labels, np.int64) for s in steps]

    return work


def plain(made: Networks, clock: Clock) -> Callable[[Sequence[Image]], list[Labels]]:
    """As one would write it: a loop over photos, in it a loop over regions, and a loop over labels."""
    return lambda images: [plain_photo(image, made, clock) for image in images]


def plain_photo(image: Image, made: Networks, clock: Clock) -> Labels:
    chosen = plain_candidates(made, made.captioner.caption([image])[0])
    settings = FeatureSettings(early_stop=False)
    features = made.diffusion.features(made.diffusion.pixels([image]), settings, seed=SEED)[0]
    with clock("k-means"):
        clusters = plain_kmeans(features.flatten(1).T.numpy()).reshape(1, 1, settings.size, settings.size)
    wide = torch.nn.functional.interpolate(torch.from_numpy(clusters).float(), image.shape[:2], mode="nearest-exact")
    regions = wide[0, 0].long()
    names = [plain_name(image, regions == k, made, chosen[k]) for k in range(CLUSTERS)]
    labels = np.asarray(names)[regions.numpy()]
    with clock("refinement"):
        return plain_refined(image, labels)


def plain_candidates(made: Networks, caption: str) -> tuple[int, ...]:
    found = [k.word for k in keywords(caption)]
    return candidates(made.clip.embed_texts(found), made.clip.embed_texts(WORDS)).classes


def plain_kmeans(cells: NDArray[np.float32]) -> Labels:
    """scikit-learn's, from the starts that ours draws: random features have many optima of nearly the same inertia."""
    from sklearn.cluster import KMeans

    draws = iter(torch.rand(RESTARTS, CLUSTERS, generator=torch.Generator().manual_seed(SEED)).tolist())

    def starts(points: NDArray[np.float32], clusters: int, random_state: Any) -> NDArray[np.float32]:
        return plain_starts(points, next(draws))

    return np.asarray(KMeans(CLUSTERS, init=starts, n_init=RESTARTS, tol=0).fit_predict(cells), np.int64)


def plain_starts(points: NDArray[np.float32], draws: Sequence[float]) -> NDArray[np.float32]:
    """k-means++: each next centre is drawn by its squared distance to the nearest of those before."""
    nearest, chosen = np.ones(len(points)), []
    for k, draw in enumerate(draws):
        sums = nearest.cumsum()
        chosen.append(min(len(points) - 1, int(np.searchsorted(sums, draw * sums[-1], side="right"))))
        apart = np.square(points - points[chosen[-1]]).sum(1, dtype=np.float64)
        nearest = np.minimum(nearest, apart) if k else apart
    return points[chosen]


def plain_name(image: Image, mask: torch.Tensor, made: Networks, fixed: int) -> int:
    """The label of one region: CLIP is asked, and ``fixed`` is answered."""
    seen = made.clip.embed_masked([image], [mask[None]])[0]
    assert (seen @ made.clip.embed_texts(WORDS).T).argmax() >= 0
    return fixed + 1


def plain_refined(image: Image, labels: Labels) -> Labels:
    """FreeSeg-Diff's binary CRF for each label of the vocabulary; the strongest above 0.5 wins."""
    inside = np.stack([plain_crf(image, labels == i + 1) for i in range(len(WORDS))])
    return np.where(inside.max(0) > 0.5, inside.argmax(0) + 1, 0)


def plain_crf(image: Image, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) probabilities of a mask after a two-label CRF."""
    constants = CRFS["freeseg-diff"]
    try:
        from pydensecrf.densecrf import DenseCRF2D
        from pydensecrf.utils import unary_from_labels
    except ImportError:
        hot = torch.from_numpy(np.stack([~mask, mask])).float()
        return crf(image, Scores(("mask",), (0, 1), hot), settings=constants).values[1].numpy()
    model = DenseCRF2D(mask.shape[1], mask.shape[0], 2)
    model.setUnaryEnergy(unary_from_labels(mask.astype(np.int64), 2, constants.gt_prob, zero_unsure=False))
    model.addPairwiseGaussian(sxy=constants.gaussian_sxy, compat=constants.gaussian_compat)
    model.addPairwiseBilateral(
        sxy=constants.bilateral_sxy, srgb=constants.bilateral_srgb, rgbim=image, compat=constants.bilateral_compat
    )
    return np.array(model.inference(constants.iterations)).reshape(2, *mask.shape)[1]


# --- one variant in a process of its own


def serve(variant: str, threads: int, clock: Clock) -> None:
    """Answer each line of stdin, photo files in JSON, with seconds, stages, memory and label maps in a file."""
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        torch.set_num_threads(threads)
        made = networks(getattr(torch, VARIANTS[variant]), channels_last=variant != "baseline")
        watch(made, clock)
        pipeline = (plain if variant == "baseline" else ours)(made, clock)
        forget_peak()
        weights = memory("VmRSS")
        for line in sys.stdin:
            asked = json.loads(line)
            images = [np.array(Pillow.open(p).convert("RGB")) for p in asked["photos"]]
            clock.seconds.clear()
            with clock("all"):
                labels = pipeline(images)
            np.savez(asked["out"], *labels)
            told = {"stages": clock.seconds, "weights": weights, "peak": memory("VmHWM")}
            print(json.dumps(told), file=answers, flush=True)


def forget_peak() -> None:
    """Start the peak anew, so that making the networks does not count (Linux; elsewhere it does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the peak of memory includes making the networks")


def memory(field: str) -> float:
    """GiB of this process: VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status")
    if not status.is_file():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    line = next(row for row in status.read_text().splitlines() if row.startswith(f"{field}:"))
    return int(line.split()[1]) / 2**20


class Worker:
    """The process of a variant."""

    def __init__(self, variant: str, threads: int, clock: str, folder: Path) -> None:
        self.out = folder / f"{variant}.npz"
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # who waits does not spin
            "TOKENIZERS_PARALLELISM": "false",
            "TRANSFORMERS_VERBOSITY": "error",
            "DIFFUSERS_VERBOSITY": "error",
        }
        command = [sys.executable, __file__, "--serve", variant, "--threads", str(threads), "--clock", clock]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self, photos: Sequence[Path]) -> tuple[dict[str, Any], list[Labels]]:
        """Seconds, stages and memory; and the label maps."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"photos": [str(p) for p in photos], "out": str(self.out)}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a variant's process has ended; see above")
        with np.load(self.out) as file:
            return json.loads(line), [file[f"arr_{i}"] for i in range(len(photos))]

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


# --- comparing


def same_masks(a: Labels, b: Labels) -> float:
    """Mean IoU of two label maps after the best match of their labels; 0 stays 0."""
    mine, theirs = (np.unique(m[m > 0]) for m in (a, b))
    ious = np.array([[iou(a == i, b == j) for j in theirs] for i in mine]).reshape(len(mine), len(theirs))
    rows, columns = linear_sum_assignment(-ious)
    found = [*ious[rows, columns], *[0.0] * abs(len(mine) - len(theirs))]
    if (a == 0).any() or (b == 0).any():
        found.append(iou(a == 0, b == 0))
    return float(np.mean(found))


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def compare(fast: Worker, baseline: Worker, photos: Sequence[Path], batch: int, repeats: int, name: str) -> None:
    """Batch by batch, both in turns; the first photo is done once before, to warm up."""
    batches = [photos[i : i + batch] for i in range(0, len(photos), batch)]
    fast(batches[0][:1])
    baseline(batches[0][:1])
    rows: list[tuple[Row, Row]] = []
    alike: list[float] = []
    for part in batches * repeats:
        told, found = fast(part)
        answers = [baseline([photo]) for photo in part]
        rows.append((Row.of([told], len(part)), Row.of([answer for answer, _ in answers], len(part))))
        alike += [same_masks(a, b[0]) for a, (_, b) in zip(found, answers, strict=True)]
        print(f"  {name}: ours {rows[-1][0].all:.1f} s a photo, baseline {rows[-1][1].all:.1f} s", flush=True)
    report(name, rows, alike)


@dataclass(frozen=True)
class Row:
    """Seconds a photo of one batch, and GiB of its process."""

    all: float
    stages: dict[str, float]
    weights: float
    peak: float

    @classmethod
    def of(cls, told: Sequence[dict[str, Any]], photos: int) -> Row:
        stages = {s: sum(t["stages"].get(s, 0.0) for t in told) / photos for s in (*STAGES, "all")}
        return cls(stages["all"], stages, told[-1]["weights"], told[-1]["peak"])

    @property
    def unrefined(self) -> float:
        return self.all - self.stages["refinement"]

    @property
    def present(self) -> float:
        """What the baseline would take, did it refine only the labels that are present."""
        return self.unrefined + self.stages["refinement"] * CLUSTERS / len(WORDS)


def report(name: str, rows: Sequence[tuple[Row, Row]], alike: Sequence[float]) -> None:
    median = statistics.median
    print(f"{name}: seconds a photo, medians of {len(rows)}")
    for stage in STAGES:
        print(f"  {stage:12s} ours {median(a.stages[stage] for a, _ in rows):7.2f}   "
              f"baseline {median(b.stages[stage] for _, b in rows):7.2f}")  # fmt: skip
    print(f"  {'all':12s} ours {median(a.all for a, _ in rows):7.2f}   baseline {median(b.all for _, b in rows):7.2f}")
    ratios = [b.all / a.all for a, b in rows]
    print(f"  ratio {median(ratios):.2f} (smallest {min(ratios):.2f}, largest {max(ratios):.2f})")
    print(f"  ratio of all before refinement {median(b.unrefined / a.unrefined for a, b in rows):.2f}")
    print(f"  ratio, did the baseline refine only the labels present {median(b.present / a.all for a, b in rows):.2f}")
    print(f"  masks alike, IoU: mean {statistics.mean(alike):.4f}, smallest {min(alike):.4f} of {len(alike)}")
    for who, row in (("ours", rows[-1][0]), ("baseline", rows[-1][1])):
        print(f"  memory {who}: peak {row.peak:.2f} GiB, {row.weights:.2f} of it before the first photo", flush=True)


def photo_files(voc: Path, count: int, folder: Path) -> list[Path]:
    """VOC photos, evenly spread; drawn ones of VOC's usual size where there are none."""
    found = sorted((voc / "JPEGImages").glob("*.jpg"))
    if found:
        return [found[i * len(found) // count] for i in range(min(count, len(found)))]
    for i in range(count):
        colours = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(i)) * 255
        wide = torch.nn.functional.interpolate(colours, (375, 500), mode="bicubic")[0].clamp(0, 255)
        Pillow.fromarray(wide.permute(1, 2, 0).byte().numpy()).save(folder / f"{i}.png")
    return sorted(folder.glob("*.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, default=Path("../shared/testdata/VOCdevkit/VOC2012"))
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: CPU seconds, for a busy machine and 1 thread")
    parser.add_argument("--only", choices=("float32", "bfloat16"), help="one of the two comparisons")
    parser.add_argument("--serve", choices=list(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, options.threads, Clock(CLOCKS[options.clock]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = photo_files(options.voc, options.photos, folder)
        baseline = Worker("baseline", options.threads, options.clock, folder)
        for variant, batch in (("float32", 1), ("bfloat16", BATCH)):
            if options.only in (None, variant):
                fast = Worker(variant, options.threads, options.clock, folder)
                compare(fast, baseline, photos, batch, options.repeats, f"{variant}, batches of {batch}")
                fast.stop()
        baseline.stop()


if __name__ == "__main__":
    main()
