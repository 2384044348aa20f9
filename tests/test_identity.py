"""Whatever changes a result changes the identity: every field of every settings class, networks, options, dtype."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import hub
import pytest
import torch

from segwright.datasets import open_dataset
from segwright.diagnosis.averages import identity as diagnosis_identity
from segwright.diagnosis.subject import DiagnoseSettings
from segwright.errors import InputError
from segwright.files.journal import check_same
from segwright.files.record import plain
from segwright.methods import METHODS, find_method
from segwright.methods.base import MethodSpec
from segwright.methods.ovdiff.support import SupportSettings, open_bank
from segwright.models.diffusion import FeatureSettings
from segwright.models.null_text import InversionSettings
from segwright.models.sampling import SamplingSettings
from segwright.presets import CLIPS
from segwright.refine import REFINERS
from segwright.runs.refine_masks import RefinementSettings
from segwright.settings import build
from segwright.weights import Networks, load

# Values to try for fields whose default says little of their kind.
POOL = (
    (("dog", (1, 2, 3)),),
    True, 0.5, 0.9, 2, 100, 448, ("a {}",), ("clip",), ("sd",), (), ((8, 1.0),), "clip", "none", "paper", "caption", "standardised",
    "average", "threshold", "value",
    "softmax", "probabilities", "published", "crop", "maskcut", "a photograph of {} there", "key", "pamr", "ddim", "other",
    (("dog", (1, 2, 3)),), FeatureSettings(timestep=7), SamplingSettings(steps=7), InversionSettings(7),
)  # fmt: skip


def others(kind: type, name: str) -> Iterator[Any]:
    """Values of a field beside its default."""
    default = getattr(kind(), name)
    if name == "refine":
        yield "pamr" if default != "pamr" else "crf"
    if isinstance(default, bool):
        yield not default
    elif isinstance(default, int | float):
        yield from (default + 1, default - 1, default * 0.9, default + 0.05)
    elif isinstance(default, tuple) and len(default) > 1:
        yield from (default[:-1], tuple(v * 0.9 for v in default) if all(isinstance(v, float) for v in default) else default[1:])
    elif isinstance(default, str) and "{}" in default:
        yield default + " here"
    yield from (value for value in POOL if value != default)


def changed(kind: type, name: str) -> Any:
    """The settings with another value of one field."""
    for value in others(kind, name):
        try:
            made = build(kind, {name: value}, kind.__name__)
        except (InputError, TypeError, ValueError):
            continue
        if getattr(made, name) != getattr(kind(), name):
            return made
    raise AssertionError(f"no other value of {kind.__name__}.{name} was found; add one to POOL")


def every(*kinds: type) -> list[Any]:
    return [pytest.param(kind, f.name, id=f"{kind.__name__}.{f.name}") for kind in kinds for f in fields(kind)]


def differing(before: Any, after: Any) -> str:
    """The first thing that differs, as a resumed run names it."""
    with pytest.raises(InputError) as error:
        check_same(plain(before), plain(after), "folder")
    return str(error.value)


@pytest.fixture(scope="module")
def mini() -> Networks:
    return load("mini", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("banks")


def options(name: str, folder: Path) -> dict[str, Any]:
    return {"bank": folder / "bank"} if "bank" in find_method(name).options else {}


@pytest.mark.parametrize(("name", "field"), [(n, f.name) for n in METHODS for f in fields(find_method(n).Settings)])
def test_every_setting_of_every_method(name: str, field: str, mini: Networks, folder: Path) -> None:
    method = find_method(name)
    before = method.on(mini, **options(name, folder))
    after = method.on(mini, **options(name, folder), **{field: getattr(changed(method.Settings, field), field)})
    assert ("refine" if field == "refine" else f"settings.{field}") in differing(before.identity(), after.identity())


@pytest.mark.parametrize(("kind", "field"), every(*REFINERS.values()))
def test_every_setting_of_every_refiner(kind: Any, field: str, mini: Networks) -> None:
    if field == "controlnet":  # no setting but a network: tests/refine/g4seg
        return
    refiner = changed(kind, field) if not (kind.name == "crf" and field == "binary") else kind(binary=True)
    method = find_method("maskclip")
    before, after = (method.on(mini, refine=row).identity() for row in (kind(), refiner))
    assert f"refine.0.{field}" in differing(before, after)
    masks = [RefinementSettings(row).identity(mini) for row in (kind(), refiner)]
    assert f"refine.0.{field}" in differing(*masks)


@pytest.mark.parametrize(("kind", "field"), every(SupportSettings))
def test_every_setting_of_a_bank(kind: Any, field: str, mini: Networks, tmp_path: Path) -> None:
    open_bank(mini, tmp_path / "bank", SupportSettings())
    with pytest.raises(InputError, match=rf"support\.{field}"):
        open_bank(mini, tmp_path / "bank", changed(kind, field))


@pytest.mark.parametrize(("kind", "field"), every(DiagnoseSettings))
def test_every_setting_of_a_diagnosis(kind: Any, field: str, mini: Networks) -> None:
    dataset = open_dataset("mini").first(1)
    before, after = (diagnosis_identity(mini, dataset, s) for s in (kind(), changed(kind, field)))
    assert f"settings.{field}" in differing(before, after)


@pytest.mark.parametrize("name", METHODS)
def test_networks_dtype_and_the_presets_defaults(
    name: str, mini: Networks, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other networks are on this machine already: what tells a repository's commit is ``tests/test_fetching.py``."""
    there = tmp_path / "models--other--network" / "snapshots" / "0123"
    there.mkdir(parents=True)
    monkeypatch.setattr(Networks, "prepare", lambda self, kinds: None)
    kept = Networks.folder
    monkeypatch.setattr(Networks, "folder", lambda self, kind: there if self.part(kind) else kept(self, kind))

    def of(networks: Networks, where: str) -> dict[str, Any]:
        given = {"bank": folder / where} if "bank" in find_method(name).options else {}
        return find_method(name).on(networks, **given).identity()

    before = of(mini, "plain")
    kinds = find_method(name).on(mini, **options(name, folder)).uses()
    for kind in kinds:
        other = replace(mini, swapped={kind: CLIPS["clip-b16"]})
        assert f"networks.{kind}" in differing(before, of(other, f"{kind}-{name}"))
    assert "dtype" in differing(before, of(replace(mini, dtype=torch.bfloat16), f"bf-{name}"))
    preset = replace(mini.preset, image_size=256)
    assert "defaults.image_size" in differing(before, of(replace(mini, preset=preset), f"size-{name}"))


def test_options_and_refiners_behind(mini: Networks, tmp_path: Path) -> None:
    method = find_method("ovdiff")
    plain_, stuff = (method.on(mini, bank=tmp_path / "b", stuff=s).identity() for s in ((), ("grass",)))
    assert "stuff" in differing(plain_, stuff)
    fewer = method.on(mini, bank=tmp_path / "c", support=SupportSettings(pictures=3)).identity()
    assert "bank.support.pictures" in differing(plain_, fewer)
    spec = MethodSpec("maskclip", "mini", "cpu")
    assert "then" in differing(spec.identity(), replace(spec, then=(REFINERS["pamr"](),)).identity())
    then = [replace(spec, then=(REFINERS["crf"](iterations=n),)).identity() for n in (5, 6)]
    assert "then.0.iterations" in differing(*then)
    assert spec.identity() == spec.load().identity()


def test_two_clips_are_two_identities(stocked: hub.Hub) -> None:
    one, two = (MethodSpec("sclip", "sd15", "cpu", extras={"clip": clip}).identity(words=True) for clip in ("clip-b32", "clip-b16"))
    assert list(one["networks"]) == ["clip"]
    assert not any("blip" in path for path in stocked.sent)
    assert "networks.clip" in differing(one, two)
    assert asdict(find_method("sclip").Settings())["seed"] == one["settings"]["seed"]


def test_the_content_of_a_bank(mini: Networks, tmp_path: Path) -> None:
    """Two banks of equal settings and other prototypes are two identities, for the words that are asked for."""
    from segwright.runs.segment import identity

    method = find_method("ovdiff")
    banks = [method.on(mini, bank=tmp_path / name) for name in ("a", "b")]
    for place, made in enumerate(banks):
        for word in ("dog", "sofa"):
            folder = made.bank.path(word)
            folder.mkdir(parents=True)
            (folder / "sd.safetensors").write_bytes(b"same" if word == "sofa" else b"%d" % place)
            made.bank.finish(word, "thing")
    assert "made.dog" in differing(*(identity(made, ("dog", "sofa")) for made in banks))
    assert identity(banks[0], ("sofa",)) == identity(banks[1], ("sofa",))
    assert "made.dog" in differing(*(identity(made, None) for made in banks))
