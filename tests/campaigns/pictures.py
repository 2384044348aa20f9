"""Damaged pictures of every format: read, or refused in one sentence, within bounds of memory.

    python tests/campaigns/pictures.py [--size 10000] [--seed 0] [--seconds 3600]

One attack in 140 is a folder of eight pictures, seven of them damaged, through the command line. The first attacks are whole
pictures of 100 megapixels, each read in a process of its own: below 1 GB, or refused by what the header says.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Attack, damaged, main, tried
from PIL import Image as Pillow
from PIL import features
from runs.toy import Toy

from segwright import cli
from segwright.images import FORMATS, read
from segwright.methods.base import MethodSpec

MOST = 1e9  # bytes of a process that reads one picture
MEASURED = """
import resource, sys
from segwright.errors import InputError
from segwright.images import read
try:
    outcome = "read %dx%d" % read(sys.argv[1]).shape[:2]
except InputError as error:
    outcome = f"refused: {error}"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, outcome)
"""
# name -> format, mode, options
KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "baseline": ("JPEG", "RGB", {}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "grey": ("JPEG", "L", {}),
    "cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "alpha": ("PNG", "RGBA", {}),
    "palette": ("PNG", "P", {}),
    "bits": ("PNG", "1", {}),
    "deep": ("PNG", "I;16", {}),
    "webp": ("WEBP", "RGB", {}),
    "lossless": ("WEBP", "RGBA", {"lossless": True}),
    "bmp": ("BMP", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}),
    "lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "in-tiff": ("TIFF", "RGB", {"compression": "jpeg"}),
    "gif": ("GIF", "P", {}),
    "ppm": ("PPM", "RGB", {}),
    "jpeg2000": ("JPEG2000", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
}
LARGE = (("baseline", {}), ("png", {"compress_level": 1}), ("alpha", {"compress_level": 1}), ("webp", {"method": 0}))


def encoded(kind: str, size: tuple[int, int], seed: int = 0, **more: object) -> bytes:
    """Smooth colours and a little noise."""
    form, mode, options = KINDS[kind]
    rng, (width, height) = np.random.default_rng(seed), size
    grey = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width)) + rng.integers(0, 16, (height, width))
    if mode == "I;16":
        picture = Pillow.fromarray((grey * 256).astype(np.uint16))
    else:
        picture = Pillow.merge("RGB", [Pillow.fromarray((grey * f).astype(np.uint8)) for f in (1, 0.7, 0.4)]).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, form, **{**options, **more})
    return stream.getvalue()


def kinds() -> list[str]:
    """Those that this Pillow writes."""
    Pillow.init()
    ready = {"WEBP": features.check("webp"), "AVIF": features.check("avif"), "JPEG2000": features.check("jpg_2000")}
    return [kind for kind, (form, _, _) in KINDS.items() if form in FORMATS and ready.get(form, True)]


def large(folder: Path, kind: str, options: dict[str, object]) -> str:
    file = folder / f"large-{kind}"
    width, height = 10_000, 10_000
    form, mode, own = KINDS[kind]
    code = (
        "import sys; from PIL import Image; Image.MAX_IMAGE_PIXELS = None; "
        f"p = Image.linear_gradient('L').resize(({width}, {height})).convert({mode!r}); "
        f"p.save({str(file)!r}, {form!r}, **{ {**own, **options}!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    try:
        said = subprocess.run([sys.executable, "-c", MEASURED, str(file)], check=True, capture_output=True, text=True)
    finally:
        file.unlink(missing_ok=True)
    peak, _, outcome = said.stdout.strip().partition(" ")
    assert not said.stderr, said.stderr
    assert int(peak) < MOST, f"{kind}: {int(peak) / 1e6:.0f} MB"
    print(f"100 megapixels of {kind}: {outcome}; {int(peak) / 1e6:.0f} MB", flush=True)
    return "large " + outcome.partition(" ")[0].strip(":")


def one(content: bytes) -> str:
    image = tried(lambda: read(io.BytesIO(content)))
    if image is None:
        return "refused"
    assert image.dtype == np.uint8
    assert image.ndim == 3
    return "read"


def by_command(folder: Path, rng: random.Random, whole: dict[str, bytes]) -> str:
    """A folder with whole pictures and damaged ones."""
    photos, out = folder / "photos", folder / "run"
    photos.mkdir(exist_ok=True)
    for path in photos.iterdir():
        path.unlink()
    for number in range(8):
        kind = rng.choice(list(whole))
        content = whole["png"] if number == 0 else damaged(whole[kind], rng)
        (photos / f"{number}-{kind}.{rng.choice(('jpg', 'png', 'webp', 'tif'))}").write_bytes(content)
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = cli.main(["segment", str(photos), "--preset", "mini", "--words", "cat", "-o", str(out), "--restart"])
    assert code in (0, 1), (code, complained.getvalue())
    assert "Traceback" not in complained.getvalue() + said.getvalue()
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf8").splitlines()]
    assert len(lines) == 8
    assert all(line["status"] == "done" or line["reason"] in complained.getvalue() for line in lines)
    return "folder done"


def make(folder: Path, sizes: Callable[[str], tuple[int, int]] = lambda kind: (40, 30), measured: bool = True) -> Attack:
    MethodSpec.load = lambda self: Toy()  # type: ignore[method-assign,return-value]
    whole = {kind: encoded(kind, sizes(kind)) for kind in kinds()}
    ready = [(kind, options) for kind, options in LARGE if kind in whole] if measured else []

    def attack(rng: random.Random, number: int) -> str:
        if number < len(ready):
            return large(folder, *ready[number])
        if number % 140 == 0:
            return by_command(folder, rng, whole)
        content = whole[rng.choice(list(whole))]
        for _ in range(rng.choice((1, 1, 2, 4))):
            content = damaged(content, rng)
        return one(content)

    return attack


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 10_000))
