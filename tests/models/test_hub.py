"""Fetching from a hub on this machine: each fault ends in the files or in the right sentence, and soon."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hub
import huggingface_hub
import pytest
from hub_fixtures import COMMIT, part_of, pickled

from segwright.errors import WeightsError
from segwright.models import download, trouble
from segwright.models.hub import Fetching, cached, fetch, find, human, source
from segwright.models.repositories import File, Part

Files = dict[str, bytes]
QUIET = Fetching(notify=lambda _: None)
REPO = "somebody/network"


def weights(size: int = 300_000) -> Files:
    return {"config.json": b'{"a": 1}', "model.safetensors": random.Random(size).randbytes(size)}


def put(served: hub.Hub, files: Files | None = None, **extra: object) -> Part:
    found = files or weights()
    served.add(REPO, found, COMMIT.format(1))
    return part_of(REPO, found, 1, **extra)


def held(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def leftovers(served: hub.Hub) -> list[str]:
    return [p.name for p in Path(huggingface_hub.constants.HF_HUB_CACHE).rglob("*.incomplete")]


def refused(part: Part, *names: str, how: Fetching = QUIET) -> str:
    """The sentence with which fetching ends; it must come soon."""
    began = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        fetch(part, how)
    assert time.monotonic() - began < 30
    text = str(caught.value)
    assert "\n" not in text
    for name in names:
        assert name in text, text
    return text


# The stand-in is a hub: its own client takes it for one.


def test_the_hubs_own_client_fetches_from_the_stand_in(served: hub.Hub, tmp_path: Path) -> None:
    part = put(served, weights() | {"unet/config.json": b"{}", "unet/model.safetensors": b"y" * 5000})
    folder = huggingface_hub.snapshot_download(part.repo, revision=part.revision, cache_dir=tmp_path / "theirs")
    assert held(Path(folder)) == served.repos[REPO].commits[part.revision]
    info = huggingface_hub.HfApi(endpoint=served.address).model_info(part.repo, files_metadata=True)
    assert info.sha == part.revision
    assert {s.rfilename for s in info.siblings or ()} == {f.name for f in part.files}
    served.offer(REPO, 5, {"x.safetensors": b"z" * 3000})
    talks = list(huggingface_hub.HfApi(endpoint=served.address).get_repo_discussions(REPO))
    assert [(t.num, t.author, t.is_pull_request) for t in talks] == [(5, "SFconvertbot", True)]
    assert huggingface_hub.hf_hub_download(REPO, "x.safetensors", revision="refs/pr/5", cache_dir=tmp_path / "pr")


def test_what_is_fetched_is_in_the_layout_of_the_hubs_own_client(served: hub.Hub) -> None:
    part = put(served)
    folder = fetch(part, QUIET)[0]
    asked = len(served.log)
    theirs = huggingface_hub.snapshot_download(
        REPO, revision=part.revision, cache_dir=huggingface_hub.constants.HF_HUB_CACHE, local_files_only=True
    )
    assert Path(theirs) == folder
    assert len(served.log) == asked
    scanned = huggingface_hub.scan_cache_dir(huggingface_hub.constants.HF_HUB_CACHE)
    assert not scanned.warnings
    assert scanned.size_on_disk == sum(f.size for f in part.files)


def test_files_of_another_program_are_used(served: hub.Hub) -> None:
    part = put(served, weights() | {"model_index.json": b"{}"})
    huggingface_hub.hf_hub_download(
        REPO, "model.safetensors", revision=part.revision, cache_dir=huggingface_hub.constants.HF_HUB_CACHE
    )
    assert find(part) is None
    served.sent.clear()
    folder = fetch(part, QUIET)[0]
    assert set(held(folder)) == {"config.json", "model.safetensors", "model_index.json"}
    assert f"{REPO}/model.safetensors" not in served.sent


# What is fetched, and what is said.


def test_sizes_licence_and_free_space_are_said_before(served: hub.Hub) -> None:
    part = put(served)
    said: list[str] = []
    served.fault("/resolve/", lambda handler: said.append("moved") is not None)
    fetch(part, Fetching(notify=said.append))
    told = " ".join(said[: said.index("moved")])
    for text in (REPO, "CC0", human(sum(f.size for f in part.files)), "free", huggingface_hub.constants.HF_HUB_CACHE):
        assert text in told
    said.clear()
    fetch(part, Fetching(notify=said.append))
    assert not said


def test_only_the_files_named_are_fetched(served: hub.Hub) -> None:
    part = put(served, weights())
    served.repos[REPO].commits[part.revision]["pytorch_model.bin"] = b"p" * 4000
    fetch(part, QUIET)
    assert set(served.sent) == {f"{REPO}/{f.name}" for f in part.files}


def test_several_parts_at_once_with_one_total(served: hub.Hub) -> None:
    parts = []
    for number in (1, 2):
        served.add(f"somebody/n{number}", weights(1000 * number), COMMIT.format(number))
        parts.append(part_of(f"somebody/n{number}", weights(1000 * number), number))
    said: list[str] = []
    folders = fetch([*parts, parts[0]], Fetching(notify=said.append))
    assert [source(f) for f in folders] == [f"somebody/n{n}@{COMMIT.format(n)}" for n in (1, 2)]
    assert len(said) == 3


def test_half_precision_is_fetched_where_there_is_some(served: hub.Hub) -> None:
    both = weights() | {"model.fp16.safetensors": b"h" * 3000}
    part = replace(put(served, both), files=(File("config.json", 8), File("model.safetensors", 300_000)))
    halved = replace(part, half=(File("model.fp16.safetensors", 3000),))
    folder = fetch(halved, replace(QUIET, half=True))[0]
    assert set(held(folder)) == {"config.json", "model.fp16.safetensors"}
    assert find(halved) is None  # full precision is still to come
    assert "model.safetensors" in held(fetch(halved, QUIET)[0])
    served.repos.clear()
    assert fetch(halved, replace(QUIET, half=True, local_only=True)) == [folder]


def test_a_hub_without_the_half_precision_gives_the_full(served: hub.Hub) -> None:
    part = replace(put(served), half=(File("model.fp16.safetensors", 3000),))
    assert set(held(fetch(part, replace(QUIET, half=True))[0])) == {"config.json", "model.safetensors"}


# Weights that main does not have.


def offered(served: hub.Hub, number: int = 7, **extra: object) -> tuple[Part, str]:
    files = weights()
    served.add(REPO, {"config.json": files["config.json"]}, COMMIT.format(1))
    commit = served.offer(REPO, number, {"model.safetensors": files["model.safetensors"]}, **extra)  # type: ignore[arg-type]
    return part_of(REPO, files, 1, converted=True), commit


def test_weights_of_a_pull_request(served: hub.Hub) -> None:
    part, commit = offered(served)
    folder = fetch(part, QUIET)[0]
    assert source(folder) == f"{REPO}@{commit}"
    assert set(held(folder)) == {"config.json", "model.safetensors"}
    served.repos[REPO].talks = None
    assert fetch(part, replace(QUIET, local_only=True)) == [folder]


@pytest.mark.parametrize("title", ["Adding `safetensors` variant of this model", "renamed by its owner"])
def test_a_renamed_pull_request_is_found(served: hub.Hub, title: str) -> None:
    part, commit = offered(served, title=title)
    assert source(fetch(part, QUIET)[0]).endswith(commit)


def test_a_known_pull_request_needs_no_listing(served: hub.Hub) -> None:
    part, commit = offered(served)
    served.repos[REPO].talks = None
    assert source(fetch(replace(part, offers=("refs/pr/7",)), QUIET)[0]).endswith(commit)
    assert not [path for _, path in served.log if "discussions" in path]


def test_a_moved_pull_request_is_found(served: hub.Hub) -> None:
    part, commit = offered(served, number=31)
    assert source(fetch(replace(part, offers=("refs/pr/7",)), QUIET)[0]).endswith(commit)


def test_a_pinned_checksum_is_kept_to_whatever_the_hub_lists(served: hub.Hub) -> None:
    """Weights of another content are passed over, at the pinned commit and at each offer."""
    part, commit = offered(served)
    there, files = served.repos[REPO], weights()
    pin = hashlib.sha256(files["model.safetensors"]).hexdigest()
    there.commits[COMMIT.format(1)]["model.safetensors"] = b"other" * 1000
    pinned = replace(part, files=(File("config.json", 8), File("model.safetensors", 300_000, pin)))
    assert source(fetch(pinned, QUIET)[0]) == f"{REPO}@{commit}"
    there.commits[commit]["model.safetensors"] = b"other" * 1000
    other = replace(pinned, files=(File("config.json", 8), File("model.safetensors", 300_000, "0" * 64)))
    Path(huggingface_hub.constants.HF_HUB_CACHE).rename(Path(huggingface_hub.constants.HF_HUB_CACHE).with_name("away"))
    refused(other, "no safetensors")


def test_a_merged_pull_request_is_found_on_main(served: hub.Hub) -> None:
    part, _ = offered(served)
    there = served.repos[REPO]
    there.talks, there.refs = [], {"main": COMMIT.format(9)}
    there.commits = {COMMIT.format(1): {"config.json": b"{}"}, COMMIT.format(9): weights()}
    assert source(fetch(part, QUIET)[0]) == f"{REPO}@{COMMIT.format(9)}"


def test_a_strangers_pull_request_is_not_taken(served: hub.Hub) -> None:
    part, _ = offered(served, author="stranger")
    refused(part, "no safetensors")


@pytest.fixture
def pickle_part(served: hub.Hub, repositories: dict[str, Files]) -> Part:
    """A repository with a pickle alone, and discussions disabled: BLIP base at its worst."""
    files = repositories["captioner"]
    data = pickled(files["model.safetensors"])
    small = {name: data for name, data in files.items() if name != "model.safetensors"}
    served.add(REPO, small | {"pytorch_model.bin": data}, COMMIT.format(1), talks=None)
    pinned = File("pytorch_model.bin", len(data), hashlib.sha256(data).hexdigest())
    return part_of(REPO, files, 1, converted=True, pickle=pinned)


def test_a_pinned_pickle_is_converted_once(served: hub.Hub, pickle_part: Part, repositories: dict[str, Files]) -> None:
    from safetensors.torch import load, load_file

    said: list[str] = []
    folder = fetch(pickle_part, Fetching(notify=said.append))[0]
    assert any("converted" in line for line in said)
    expected, found = load(repositories["captioner"]["model.safetensors"]), load_file(folder / "model.safetensors")
    assert set(found) == set(expected)
    assert all(found[k].equal(expected[k]) for k in expected)
    assert source(folder) == f"{REPO}@{pickle_part.revision}"
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    assert not list(cache.rglob("pytorch_model.bin"))  # twice its size would stay otherwise
    served.repos.clear()
    assert fetch(pickle_part, QUIET) == [folder]
    assert not huggingface_hub.scan_cache_dir(cache).warnings


def test_another_programs_pickle_is_used_and_kept(served: hub.Hub, pickle_part: Part) -> None:
    kept = huggingface_hub.snapshot_download(REPO, revision=pickle_part.revision, cache_dir=huggingface_hub.constants.HF_HUB_CACHE)
    served.sent.clear()
    fetch(pickle_part, QUIET)
    assert not served.sent
    assert (Path(kept) / "pytorch_model.bin").is_file()


def test_another_pickle_is_not_opened(served: hub.Hub, pickle_part: Part) -> None:
    evil = b"cos\nsystem\n(S'touch /tmp/opened'\ntR." + b"x" * 3000
    served.repos[REPO].commits[pickle_part.revision]["pytorch_model.bin"] = evil
    refused(pickle_part, "pytorch_model.bin", "damaged")
    assert not Path("/tmp/opened").exists()


def test_a_pickle_that_holds_more_than_tensors_is_refused(served: hub.Hub, pickle_part: Part) -> None:
    import io

    import torch

    out = io.BytesIO()
    torch.save({"a": torch.zeros(3), "code": os.getcwd}, out)
    data = out.getvalue()
    served.repos[REPO].commits[pickle_part.revision]["pytorch_model.bin"] = data
    pinned = File("pytorch_model.bin", len(data), hashlib.sha256(data).hexdigest())
    refused(replace(pickle_part, pickle=pinned), "cannot be converted")


def test_a_stand_in_repository_is_announced_and_is_what_the_identity_says(served: hub.Hub) -> None:
    part, _ = offered(served, author="stranger")
    served.add("somebody/large", weights(5000), COMMIT.format(2))
    other = part_of("somebody/large", weights(5000), 2)
    said: list[str] = []
    folder = fetch(replace(part, instead=other), Fetching(notify=said.append))[0]
    assert source(folder) == f"somebody/large@{COMMIT.format(2)}"
    assert any("in its place" in line for line in said)
    assert fetch(replace(part, instead=other), replace(QUIET, local_only=True)) == [folder]


# Faults.


def test_no_network(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://hub.invalid")
    refused(part, "no network", "HTTPS_PROXY", "HF_ENDPOINT", "--preset mini")


def test_connection_refused(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    refused(part, "refused the connection", "HF_ENDPOINT")


@pytest.mark.parametrize(
    ("act", "names"),
    [
        (hub.status(401), ("HF_TOKEN", "private or gone")),
        (hub.status(403), ("HF_TOKEN", "refused")),
        (hub.status(404, X_Error_Code="RepoNotFound"), ("is not on", "HF_ENDPOINT")),
        (hub.status(404, X_Error_Code="RevisionNotFound"), ("offers no safetensors", "no revision")),
        (hub.status(429, Retry_After="300"), ("300 s", "HF_TOKEN")),
        (hub.status(429, ratelimit='"api";r=0;t=55'), ("55 s", "HF_TOKEN")),
        (hub.status(503), ("unwell", "503")),
        (hub.status(451), ("451",)),
        (hub.silent(60), ("silent", "HTTPS_PROXY")),
    ],
)
def test_the_hub_refuses(served: hub.Hub, act: Callable[[hub.Handler], bool], names: tuple[str, ...]) -> None:
    part = put(served)
    served.fault("/api/models/", act)
    refused(part, *names)


@pytest.mark.parametrize("where", ["/resolve/", "/cdn/"])
@pytest.mark.parametrize(
    ("act", "names"),
    [
        (hub.status(403), ("HF_TOKEN", "model.safetensors")),
        (hub.status(404), ("is not on",)),
        (hub.status(429, Retry_After="300"), ("300 s",)),
        (hub.status(500), ("unwell",)),
        (hub.silent(60), ("silent", "model.safetensors")),
    ],
)
def test_a_file_is_refused(served: hub.Hub, where: str, act: Callable[[hub.Handler], bool], names: tuple[str, ...]) -> None:
    part = put(served)
    served.fault(f"{where}{REPO if where == '/cdn/' else ''}", lambda handler: False, 0)
    served.faults.append(
        hub.Fault("model.safetensors", lambda h: act(h) if h.path.startswith(("/cdn/",)) == (where == "/cdn/") else False)
    )
    refused(part, *names)


@pytest.mark.parametrize("act", [hub.status(500), hub.status(502), hub.status(429, Retry_After="0"), hub.cut(0), hub.silent(60)])
@pytest.mark.parametrize("where", ["/api/models/", "/cdn/", "config.json"])
def test_once_and_then_fine(served: hub.Hub, act: Callable[[hub.Handler], bool], where: str) -> None:
    part = put(served)
    served.fault(where, act, times=1)
    assert held(fetch(part, QUIET)[0]) == served.repos[REPO].commits[part.revision]


def test_gated(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    served.repos[REPO].gated, served.token = True, "hf_secret"
    text = refused(part, "gated", "accept its licence", f"{served.address}/{REPO}", "HF_TOKEN")
    assert "hf_secret" not in text
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(part, QUIET)


def test_the_token_stays_with_the_hub(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part, seen = put(served), []
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub.serving() as cdn:
        cdn.repos = served.repos
        served.cdn = cdn.cdn
        cdn.fault("", lambda handler: seen.append(handler.headers.get("Authorization")) is not None)
        fetch(part, QUIET)
    assert seen == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_cut_at_ten_places_is_resumed_within_the_file(served: hub.Hub, ranges: bool) -> None:
    size, rng = 3_000_000, random.Random(3)
    part = put(served, weights(size))
    served.ranges = ranges
    places = sorted(rng.sample(range(1, size), 10))
    steps = iter(b - a for a, b in zip([0, *places], places, strict=False)) if ranges else iter(places)
    served.fault("/cdn/", lambda handler: hub.cut(next(steps))(handler), times=10)
    folder = fetch(part, QUIET)[0]
    assert held(folder) == weights(size)
    sent = served.sent[f"{REPO}/model.safetensors"]
    assert sent == (size if ranges else size + sum(places))
    assert not leftovers(served)


def test_an_interrupted_fetch_resumes_in_the_next_run(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1_000_000
    part = put(served, weights(size))
    served.fault("/cdn/", hub.cut(400_000), times=1)
    served.fault("/cdn/", hub.status(503))
    refused(part, "unwell")
    assert len(leftovers(served)) == 1
    served.faults.clear()
    said: list[str] = []
    fetch(part, Fetching(notify=said.append))
    assert served.sent[f"{REPO}/model.safetensors"] == size
    assert human(size - 400_000) in said[0]
    assert not leftovers(served)


def test_a_stall_within_the_file_is_resumed(served: hub.Hub) -> None:
    part = put(served)
    served.fault("/cdn/", hub.silent(60, after=100_000), times=1)
    assert held(fetch(part, QUIET)[0]) == weights()
    assert served.sent[f"{REPO}/model.safetensors"] == 300_000


def test_a_file_that_is_cut_short_at_the_server(served: hub.Hub) -> None:
    part = put(served)
    served.fault("/cdn/", hub.alter(lambda data: data[:200_000]))
    refused(part, "cut short", "200000 of 300000", "HF_ENDPOINT")
    assert find(part) is None


def test_a_wrong_checksum(served: hub.Hub) -> None:
    part = put(served)
    served.fault("/cdn/", hub.alter(lambda data: data[:-1] + bytes([data[-1] ^ 1])))
    refused(part, "damaged", "checksum", "model.safetensors")
    assert find(part) is None
    assert not leftovers(served)
    served.faults.clear()
    served.fault("/cdn/", hub.alter(lambda data: b"!" + data[1:]), times=1)
    assert held(fetch(part, QUIET)[0]) == weights()


def test_small_files_are_verified_too(served: hub.Hub) -> None:
    part = put(served)
    served.fault("config.json", hub.alter(lambda data: b"[" + data[1:]))
    refused(part, "damaged", "config.json")


def test_a_damaged_file_in_the_cache_is_found_and_fetched_again(served: hub.Hub) -> None:
    part = put(served)
    path = (fetch(part, QUIET)[0] / "model.safetensors").resolve()
    path.write_bytes(b"!" + path.read_bytes()[1:])
    with pytest.raises(WeightsError, match="damaged"):
        fetch(part, replace(QUIET, verify=True, local_only=True))
    said: list[str] = []
    folder = fetch(part, Fetching(notify=said.append, verify=True))[0]
    assert any("damaged" in line for line in said)
    assert held(folder) == weights()


def test_offline_with_half_a_cache(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served, weights() | {"model_index.json": b"{}"})
    (fetch(part, QUIET)[0] / "model_index.json").unlink()
    refused(part, "lacks model_index.json", "network is not to be asked", how=replace(QUIET, local_only=True))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused(part, "lacks model_index.json", "HF_HUB_OFFLINE", "--preset mini")
    with pytest.raises(WeightsError, match="not been fetched"):
        cached(part)


def test_a_tokenizer_without_its_vocabulary_is_not_complete(served: hub.Hub) -> None:
    part = put(served, weights() | {"tokenizer/vocab.json": b"{}", "tokenizer/merges.txt": b"#"})
    folder = fetch(part, QUIET)[0]
    (folder / "tokenizer/merges.txt").unlink()
    assert find(part) is None
    refused(part, "tokenizer/vocabulary", how=replace(QUIET, local_only=True))
    assert fetch(part, QUIET) == [folder]


def test_too_little_room_is_said_before(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    monkeypatch.setattr("segwright.models.hub.room", lambda _: 1000)
    refused(part, "make room", "HF_HOME")
    assert not served.sent


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A cache on a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(served: hub.Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served, weights(3_000_000))
    refused(part, "make room", "HF_HOME")
    monkeypatch.setattr("segwright.models.hub.room", lambda _: 10**9)  # another program takes the room meanwhile
    refused(part, "is full", "HF_HOME")
    assert find(part) is None


def test_a_cache_that_cannot_be_written(served: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    refused(part, "cannot be written", "Not a directory", "HF_HOME")


def test_a_read_only_cache(served: hub.Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is whole in it is used; what lacks is said."""
    monkeypatch.setattr("segwright.models.hub.room", lambda _: 10**9)
    part = put(served)
    folder = fetch(part, QUIET)[0]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert fetch(part, QUIET) == fetch(part, replace(QUIET, verify=True)) == [folder]
    served.add("somebody/other", weights(5000), COMMIT.format(2))
    refused(part_of("somebody/other", weights(5000), 2), "cannot be written", "Read-only", "HF_HOME")


FETCH = """
import sys, huggingface_hub.constants
huggingface_hub.constants.ENDPOINT, huggingface_hub.constants.HF_HUB_CACHE = sys.argv[1:3]
from segwright.models.hub import Fetching, fetch
from segwright.models.repositories import File, Part
part = Part(*sys.argv[3:5], "CC0", tuple(File(name, 0) for name in sys.argv[5:]))
print(*fetch(part, Fetching(notify=lambda _: None)))
"""


def test_two_processes_fetch_at_once(served: hub.Hub) -> None:
    size = 2_000_000
    part = put(served, weights(size))
    served.fault("/cdn/", hub.pause(0.5))
    told = [served.address, huggingface_hub.constants.HF_HUB_CACHE, REPO, part.revision, *(f.name for f in part.files)]
    jobs = [subprocess.Popen([sys.executable, "-c", FETCH, *told], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = [job.communicate(timeout=300)[0].strip() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert folders[0] == folders[1]
    assert held(Path(folders[0])) == weights(size)
    assert served.sent[f"{REPO}/model.safetensors"] == size


def test_a_proxy_that_is_away(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    huggingface_hub.close_session()
    refused(part, "HTTPS_PROXY")


@pytest.mark.parametrize(
    ("name", "value", "names"),
    [
        ("HTTP_PROXY", "gopher://127.0.0.1:9", ("no connection", "HTTPS_PROXY")),
        ("ALL_PROXY", "socks5://127.0.0.1:9", ("HTTPS_PROXY",)),
        ("SSL_CERT_FILE", "/no/such/file.pem", ("no connection", "SSL_CERT_FILE")),
        ("HF_TOKEN", "hf_\u00e4", ("HF_TOKEN",)),
    ],
)
def test_settings_that_cannot_be_used(
    served: hub.Hub, monkeypatch: pytest.MonkeyPatch, name: str, value: str, names: tuple[str, ...]
) -> None:
    part = put(served)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv(name, value)
    huggingface_hub.close_session()
    text = refused(part, *names)
    assert "broke off" not in text


@pytest.mark.parametrize("address", ["huggingface.co", "htp://127.0.0.1", "http://127.0.0.1:port"])
def test_a_mirror_that_is_no_address(served: hub.Hub, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    part = put(served)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    refused(part, "no address", "HF_ENDPOINT", address)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b"null", b"{}", b'{"siblings": [1], "sha": "a"}', b"\xff\xfe"])
def test_an_answer_that_is_no_hubs(served: hub.Hub, body: bytes) -> None:
    """A login page of the network, or a mirror that is none."""
    part = put(served)
    served.fault("/api/models/", lambda handler: handler.reply(200, body, {}) is None)
    refused(part, "no hub says", "login page", "HF_ENDPOINT")


def test_offline_with_an_empty_cache(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    part = put(served)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused(part, REPO, "not on this machine", "HF_HUB_OFFLINE", "--preset mini")
    assert not served.log


def test_a_wrong_token(served: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub then refuses what anybody may have."""
    part = put(served)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    served.fault("", lambda h: h.headers.get("Authorization") == "Bearer hf_wrong" and hub.status(401)(h))
    assert "hf_wrong" not in refused(part, "HF_TOKEN", "401")


def test_patience_has_an_end() -> None:
    """The real constants: a silent server is tried twice and given up after 20 s, a hub that is unwell after less."""
    assert trouble.SILENCE * 2 <= 20
    assert sum(download.PAUSE * 2**i for i in range(download.TRIES)) < 10
