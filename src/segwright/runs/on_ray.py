"""The engine ``ray``: the same work through Ray Data, by a pool of actors that hold the networks.

Each actor loads its networks once and has a GPU to itself where the device is CUDA. Ray starts a lost actor or node's
work again elsewhere. Photos are opened where the actor runs; results come back to the process that holds the run and are
written there, so nothing is written twice and no folder needs to be shared for them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segwright.errors import InputError, SegwrightError
from segwright.files.places import is_url
from segwright.methods.base import Loaded, MethodSpec
from segwright.runs.sources import Photo
from segwright.runs.work import Made, make_batch, open_all

CHOSEN = {  # what is set already stays
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to Ray's makers, so no network is needed
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # ours is enough
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # no lines over it either; what goes wrong comes back as an error
    "RAY_worker_niceness": "0",  # Ray's own 15 lets any other busy program starve the actors: minutes to start
    "RAY_worker_register_timeout_seconds": "600",  # on a busy machine a process may take longer than Ray's 60
}
HOUSEKEEPERS = 3  # actors of Ray Data's own; Ray starts a process for each core that it counts, all at once
BLOCKS = 4096  # at most so many pieces of work; each is one batch in collections of up to BLOCKS * batch photos


class Worker:
    """One actor: a method with its networks."""

    def __init__(self, spec: MethodSpec | Loaded, words: Sequence[str] | None, facts: Mapping[str, Any] | None = None) -> None:
        self.method, self.words, self.facts = spec.load(), words, facts

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        photos: list[Photo] = [name if is_url(name) else Path(name) for name in map(str, rows["item"])]
        made = np.empty(len(photos), object)
        made[:] = make_batch(self.method.many, open_all(photos), self.words, facts=self.facts)
        return {"made": made}


def work(
    spec: MethodSpec | Loaded,
    photos: Sequence[Photo],
    words: Sequence[str] | None,
    batch: int,
    workers: int,
    *,
    address: str | None = None,
    gpus: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> Iterator[Made]:
    """Results as they are finished.

    Args:
        workers: actors.
        gpus: of each actor.
        address: of a cluster ("ray://host:10001", "auto"); None: this machine.
        facts: as for ``make_batch``.

    Raises:
        InputError: Ray is not installed or the cluster cannot be reached.
        SegwrightError: the work failed in an actor.
    """
    ray, ours = _started(address, workers)
    try:
        blocks = min(BLOCKS, -(-len(photos) // batch))
        data = ray.data.from_items([str(photo) for photo in photos], override_num_blocks=blocks).map_batches(
            Worker,
            batch_size=batch,
            batch_format="numpy",
            fn_constructor_args=(spec, words, facts),
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
            num_gpus=gpus,
            num_cpus=1,
        )
        for row in data.iter_rows():
            yield row["made"]
    except SegwrightError:
        raise
    except Exception as error:  # Ray and Ray Data have several trees of errors
        raise SegwrightError(_cause(error)) from error
    finally:
        if ours:
            ray.shutdown()


def _started(address: str | None, workers: int) -> tuple[Any, bool]:
    """Ray, and whether it was started (or connected) here and is to be shut down here.

    On a single machine Ray gets a core for each actor, whatever the machine has; an actor for which it counts no
    core would never start. If this process is killed, the kernel and Ray end the others.
    """
    for name, value in CHOSEN.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}); pip install 'segwright[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        local = {"address": "local", "num_cpus": workers + HOUSEKEEPERS, "include_dashboard": False}
        where: dict[str, Any] = local if address is None else {"address": address}
        try:
            ray.init(log_to_driver=False, logging_level="error", **where)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"no Ray can be reached at {address or 'local'!r} ({error}); check --ray-address") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray, ours


def _cause(error: BaseException) -> str:
    """What segwright said in the actor, if it did; else Ray's own words."""
    found: BaseException | None = error
    while found is not None:
        cause = getattr(found, "cause", None) or found.__cause__
        if isinstance(found, SegwrightError):
            return str(found)
        found = cause
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"a Ray worker failed: {lines[-1] if lines else error}"
