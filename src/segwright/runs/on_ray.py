"""The engine ``ray``: the same work through Ray Data, by a pool of actors that hold the networks.

Each actor loads its networks once and has a GPU to itself where the device is CUDA. Ray starts a lost actor or node's
work again elsewhere. Photos are opened where the actor runs; results come back to the process that holds the run and are
written there, so nothing is written twice and no folder needs to be shared for them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segwright.errors import InputError, SegwrightError
from segwright.evaluation.method import MethodSpec
from segwright.runs.places import is_url
from segwright.runs.sources import Photo
from segwright.runs.work import Made, make_batch, open_all

BLOCKS = 4096  # at most so many pieces of work; each is one batch in collections of up to BLOCKS * batch photos


class Worker:
    """One actor: a method with its networks."""

    def __init__(self, spec: MethodSpec, words: Sequence[str] | None) -> None:
        self.method, self.words = spec.load(), words

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        photos: list[Photo] = [name if is_url(name) else Path(name) for name in map(str, rows["item"])]
        made = np.empty(len(photos), object)
        made[:] = make_batch(self.method.many, open_all(photos), self.words)
        return {"made": made}


def work(
    spec: MethodSpec,
    photos: Sequence[Photo],
    words: Sequence[str] | None,
    batch: int,
    workers: int,
    address: str | None = None,
    gpus: int = 0,
) -> Iterator[Made]:
    """Results as they are finished.

    Args:
        workers: actors.
        gpus: of each actor.
        address: of a cluster ("ray://host:10001", "auto"); None: this machine.

    Raises:
        InputError: Ray is not installed or the cluster cannot be reached.
        SegwrightError: the work failed in an actor.
    """
    ray = _started(address)
    try:
        blocks = min(BLOCKS, -(-len(photos) // batch))
        data = ray.data.from_items([str(photo) for photo in photos], override_num_blocks=blocks).map_batches(
            Worker,
            batch_size=batch,
            batch_format="numpy",
            fn_constructor_args=(spec, words),
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
        if address is None:
            ray.shutdown()


def _started(address: str | None) -> Any:
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}); pip install 'segwright[ray]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": True}
    alone = {"include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(**quiet, **alone)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster can be reached at {address!r} ({error}); check --ray-address") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray


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
