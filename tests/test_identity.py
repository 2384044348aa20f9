"""Whatever changes a result changes the identity: every field of every settings class, networks, options, dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import hub
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import segwright as sw
from segwright.datasets import open_dataset
from segwright.diagnosis.averages import identity as diagnosis_identity
from segwright.diagnosis.subject import DiagnoseSettings
from segwright.errors import InputError
from segwright.evaluation import run as evaluation
from segwright.evaluation.asking import Asking
from segwright.files.journal import check_same
from segwright.files.record import plain
from segwright.methods import METHODS, find_method
from segwright.methods.base import Loaded, MethodSpec
from segwright.methods.ovdiff.support import SupportSettings, open_bank
from segwright.mini.voc import data_folder
from segwright.models.diffusion import FeatureSettings
from segwright.models.null_text import InversionSettings
from segwright.models.sampling import SamplingSettings
from segwright.presets import CLIPS
from segwright.refine import REFINERS
from segwright.runs import segment
from segwright.runs.refine_masks import RefinementSettings
from segwright.settings import build, group, paths, settings_tree
from segwright.weights import Networks, load

# Values to try for fields whose default says little of their kind.
POOL = (
    (("dog", (1, 2, 3)),),
    True, 0.5, 0.9, 2, 100, 448, ("a {}",), ("clip",), ("sd",), (), ((8, 1.0),), "clip", "none", "paper", "caption", "standardised",
    "average", "threshold", "value", "maskcut", "a photograph of {} there", "key", "pamr", "ddim", "other", "query", "lcm", (32,),
    "softmax", "probabilities", "published", "crop", "ranged", "shares", (0.1, 0.9),
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


def pair(kind: type, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings by name that differ in one field only, which may lie in a setting's own settings: "features.kind"."""
    head, _, rest = path.partition(".")
    inner = group(settings_tree(kind)[head])
    if not rest or inner is None:
        return {}, {head: getattr(changed(kind, head), head)}
    before, after = pair(inner, rest)
    return {head: inner(**before)}, {head: inner(**after)}


def every(*kinds: type) -> list[Any]:
    return [pytest.param(kind, path, id=f"{kind.__name__}.{path}") for kind in kinds for path in paths(settings_tree(kind))]


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


def test_nested_settings_are_enumerated() -> None:
    listed = [
        path
        for kind in (find_method("freeseg-diff").Settings, SupportSettings, REFINERS["g4seg"])
        for path in paths(settings_tree(kind))
    ]
    assert {"features.kind", "sampling.steps", "inversion.rate"} <= {*listed}


@pytest.mark.parametrize(("name", "path"), [(n, p) for n in METHODS for p in paths(settings_tree(find_method(n).Settings))])
def test_every_setting_of_every_method(name: str, path: str, mini: Networks, folder: Path) -> None:
    """In the method's identity, in a run's and in a report's."""
    method = find_method(name)
    both = [method.on(mini, **options(name, folder), **settings) for settings in pair(method.Settings, path)]
    shown = "refine" if path == "refine" else f"settings.{path}"
    for of in (method.identity, lambda one: segment.identity(one, None), report_identity):
        assert shown in differing(*map(of, both))


def report_identity(method: Any) -> dict[str, Any]:
    """Of an evaluation's folder."""
    dataset = open_dataset("mini").first(1)
    task = evaluation.Task(
        dataset, evaluation.find_protocol("segwright", type(method)), ("dog",), Asking("all"), Path("predictions")
    )
    return evaluation._identity(Loaded(method), task, 1)


@pytest.mark.parametrize(("kind", "path"), every(*REFINERS.values()))
def test_every_setting_of_every_refiner(kind: Any, path: str, mini: Networks) -> None:
    if path == "controlnet":  # no setting but a network: tests/refine/g4seg
        return
    own = ({}, {"binary": True}) if kind.name == "crf" and path == "binary" else pair(kind, path)
    rows = [kind(**settings) for settings in own]
    method = find_method("maskclip")
    assert f"refine.0.{path}" in differing(*(method.on(mini, refine=row).identity() for row in rows))
    assert f"refine.0.{path}" in differing(*(RefinementSettings(row).identity(mini) for row in rows))


@pytest.mark.parametrize(("kind", "path"), every(SupportSettings))
def test_every_setting_of_a_bank(kind: Any, path: str, mini: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, tmp_path, mini, "diffusion")  # a generator's weights, which are not fetched
    before, after = pair(kind, path)
    open_bank(mini, tmp_path / "bank", SupportSettings(**before))
    (tmp_path / "bank/words/begun").mkdir(parents=True)  # a bank without a word binds nobody
    with pytest.raises(InputError, match=rf"(support|networks)\.{path}"):
        open_bank(mini, tmp_path / "bank", SupportSettings(**after))


@pytest.mark.parametrize(("kind", "field"), every(DiagnoseSettings))
def test_every_setting_of_a_diagnosis(kind: Any, field: str, mini: Networks) -> None:
    dataset = open_dataset("mini").first(1)
    before, after = (diagnosis_identity(mini, dataset, kind(**settings)) for settings in pair(kind, field))
    assert f"settings.{field}" in differing(before, after)


@pytest.mark.parametrize("kind", ["diffusion", "clip", "captioner"])
def test_networks_and_dtype_of_diagnoses_refined_folders_and_banks(
    kind: str, mini: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    others = elsewhere(monkeypatch, tmp_path, mini, kind), replace(mini, dtype=torch.bfloat16)
    dataset = open_dataset("mini").first(1)
    refined = RefinementSettings(REFINERS["g4seg"]())
    for networks, shown in zip(others, (kind, "dtype"), strict=True):
        assert shown in differing(*(diagnosis_identity(n, dataset, DiagnoseSettings()) for n in (mini, networks)))
        if kind in REFINERS["g4seg"].kinds:
            assert shown in differing(refined.identity(mini), refined.identity(networks))
        if kind == "diffusion" and shown != "dtype":  # a bank's prototypes are float32 in any case
            open_bank(mini, tmp_path / shown, SupportSettings())
            (tmp_path / shown / "words/begun").mkdir(parents=True)
            with pytest.raises(InputError, match=shown):
                open_bank(networks, tmp_path / shown, SupportSettings())
    preset = replace(mini.preset, image_size=256)
    assert "defaults.image_size" in differing(
        *(diagnosis_identity(n, dataset, DiagnoseSettings()) for n in (mini, replace(mini, preset=preset)))
    )


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path, mini: Networks, kind: str) -> Networks:
    """With another network of one kind, which is on this machine already."""
    there = folder / "models--other--network" / "snapshots" / "0123"
    there.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(Networks, "prepare", lambda self, kinds, **how: None)
    kept = Networks.folder
    monkeypatch.setattr(Networks, "folder", lambda self, name: there if self.part(name) else kept(self, name))
    return replace(mini, swapped={kind: CLIPS["clip-b16"]})


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, mini: Networks) -> Path:
    """A folder of each kind, with one photo done."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "photos").mkdir()
    scene = sw.read(data_folder() / "JPEGImages/val_00000.jpg")
    Pillow.fromarray(scene[:48, :64]).save(folder / "photos/a.png")
    Pillow.fromarray(np.eye(48, 64, dtype=np.uint8)).save(folder / "mask.png")
    for work in works(folder, mini, "float32", {}).values():
        work()
    return folder


def works(folder: Path, mini: Networks, dtype: str, settings: dict[str, dict[str, Any]]) -> dict[str, Callable[[], object]]:
    """What makes a folder of each kind, or resumes it."""
    networks = replace(mini, dtype=getattr(torch, dtype))

    def method() -> Any:
        return find_method("maskclip").on(networks, **settings.get("method", {}))

    refiner = settings.get("refiner", {})
    masks = RefinementSettings(REFINERS["pamr"](**refiner), **settings.get("trust", {}))
    support = SupportSettings(**settings.get("support", {}))
    diagnosis = settings.get("diagnosis", {})
    return {
        "run": lambda: list(sw.segment(folder / "photos", method(), folder / "run", ["dog"])),
        "report": lambda: sw.evaluate(method(), open_dataset("mini"), folder / "report", limit=1),
        "refined": lambda: list(
            sw.refine_masks(folder / "photos/a.png", folder / "mask.png", folder / "refined", networks=networks, settings=masks)
        ),
        "diagnosis": lambda: sw.diagnose(
            data="mini",
            limit=1,
            only=["gradcam"],
            preset="mini",
            device="cpu",
            dtype=dtype,
            out=folder / "diagnosis",
            settings=diagnosis,
        ),
        "bank": lambda: begun_bank(networks, folder / "bank", support),
    }


def begun_bank(networks: Networks, folder: Path, settings: SupportSettings) -> None:
    """A bank without a word binds nobody."""
    open_bank(networks, folder, settings)
    (folder / "words/begun").mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize(
    ("place", "settings", "shown"),
    [
        ("run", {"method": {"short": 300}}, r"settings\.short"), ("report", {"method": {"short": 300}}, r"settings\.short"),
        ("run", {"method": {"refine": "pamr"}}, r"settings\.refine"),
        ("report", {"method": {"refine": "pamr"}}, r"settings\.refine"),
        ("refined", {"refiner": {"iterations": 3}}, r"refine\.0\.iterations"), ("refined", {"trust": {"trust": 0.9}}, "trust"),
        ("diagnosis", {"diagnosis": {"steps": 10}}, r"settings\.steps"),
        ("bank", {"support": {"pictures": 3}}, r"support\.pictures"),
    ],
)  # fmt: skip
def test_each_place_refuses_other_settings(
    place: str, settings: dict[str, dict[str, Any]], shown: str, begun: Path, mini: Networks
) -> None:
    with pytest.raises(InputError, match=f"holds a run with {shown} = |was made with {shown}"):
        works(begun, mini, "float32", settings)[place]()
    works(begun, mini, "float32", {})[place]()  # it was left as it was


@pytest.mark.parametrize("place", ["run", "report", "diagnosis"])  # a bank's prototypes are float32 in any case
def test_each_place_refuses_another_dtype(place: str, begun: Path, mini: Networks) -> None:
    with pytest.raises(InputError, match="dtype"):
        works(begun, mini, "bfloat16", {})[place]()


@pytest.mark.parametrize("name", METHODS)
def test_networks_dtype_and_the_presets_defaults(
    name: str, mini: Networks, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other networks are on this machine already: what tells a repository's commit is ``tests/test_fetching.py``."""

    def of(networks: Networks, where: str) -> dict[str, Any]:
        given = {"bank": folder / where} if "bank" in find_method(name).options else {}
        return find_method(name).on(networks, **given).identity()

    before = of(mini, "plain")
    kinds = find_method(name).on(mini, **options(name, folder)).uses()
    for kind in kinds:
        other = elsewhere(monkeypatch, tmp_path, mini, kind)
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
    method = find_method("ovdiff")
    banks = [method.on(mini, bank=tmp_path / name) for name in ("a", "b")]
    for place, made in enumerate(banks):
        for word in ("dog", "sofa"):
            folder = made.bank.path(word)
            folder.mkdir(parents=True)
            (folder / "sd.safetensors").write_bytes(b"same" if word == "sofa" else b"%d" % place)
            made.bank.finish(word, "thing")
    assert "made.dog" in differing(*(segment.identity(made, ("dog", "sofa")) for made in banks))
    assert segment.identity(banks[0], ("sofa",)) == segment.identity(banks[1], ("sofa",))
    assert "made.dog" in differing(*(segment.identity(made, None) for made in banks))
