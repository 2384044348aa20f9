"""Permutohedral lattice: high-dimensional Gaussian filtering in plain tensor operations.

Adams, Baek and Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice". Each of P points
in d dimensions is spread over the d + 1 corners of the simplex around it (splat), the corners are blurred along
the d + 1 axes of the lattice (blur), and every point reads its corners back (slice).

The lattice is A*_d. Its points are written here in the basis of d of its d + 1 axis steps, where every integer
vector is a lattice point and a step along an axis is a constant vector. So a linear code names a point by one
integer, and its neighbours are found by adding a constant to that integer.

Splat, blur and slice are each a sum of a few weighted rows, which is what ``embedding_bag`` does: on one CPU
thread it took 2-4x less time than a CSR product, and the sums have a fixed order, so results do not vary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

CHUNK = 1 << 16  # points located at a time: keeps the working set in the cache, and memory flat for large photos
MARGIN = 4  # steps that rounding (1), reordering (1), a corner (1) and its neighbour (1) can leave the points' range
TINY = 1e-20  # keeps the normaliser of a point without weight finite
HASH = (0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB, 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85)  # odd


@dataclass(frozen=True)
class Table:
    """Rows to be summed: output row i is the sum of ``weights[e] * values[rows[e]]`` for e in starts[i] .. starts[i+1].

    Attributes:
        rows: (E,) int32.
        weights: (E,) float32.
        starts: (N + 1,) int32, ascending from 0 to E.
    """

    rows: Tensor
    weights: Tensor
    starts: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """(R, M) float32 -> (N, M) float32. Fastest where M is a multiple of 8."""
        bag = partial(embedding_bag, mode="sum", include_last_offset=True)
        return bag(self.rows, values, self.starts, per_sample_weights=self.weights)


@dataclass(frozen=True)
class Lattice:
    """Where P points lie among the V lattice points that they touch.

    Attributes:
        corners: (P, d + 1) int32 in 0..V-1, the simplex around each point.
        weights: (P, d + 1) float32 in 0..1, barycentric, summing to 1.
        order: (P * (d + 1),) int32, the flat entries of ``corners`` sorted by lattice point.
        starts: (V + 1,) int32, where each lattice point's entries start in ``order``.
        blurs: d + 1 tables (V -> V), one an axis: itself + half of either neighbour; absent ones count as zero.
    """

    corners: Tensor
    weights: Tensor
    order: Tensor
    starts: Tensor
    blurs: tuple[Table, ...]

    @property
    def size(self) -> int:
        """V, the number of lattice points."""
        return len(self.starts) - 1

    def blur(self, values: Tensor) -> Tensor:
        """(V, M) -> (V, M), along every axis in turn."""
        return _blur(self.blurs, values)


def _blur(tables: Sequence[Table], values: Tensor) -> Tensor:
    """(V, M) -> (V, M), one table after another."""
    for table in tables:
        values = table(values)
    return values


def build(features: Tensor) -> Lattice:
    """The lattice of some points.

    Args:
        features: (d, P) float32, d <= 5, finite, in units of the Gaussian's standard deviation.
    """
    dims, count = features.shape
    features = features * _scales(dims, features.device)[:, None]
    strides, dtype = _strides(features)
    codes = torch.empty(count, dims + 1, dtype=dtype, device=features.device)
    weights = features.new_empty(count, dims + 1)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        found, share = _locate(features[:, part], strides)
        codes[part], weights[part] = found.t(), share.t()
    return _index(codes, weights, strides)


def _scales(dims: int, device: torch.device) -> Tensor:
    """(d,) scale that makes splat, blur and slice together a unit Gaussian (section 3.1), over d + 1."""
    axis = torch.arange(1, dims + 1, dtype=torch.float64, device=device)
    return (math.sqrt(2 / 3) / (axis * (axis + 1)).sqrt()).float()


def _strides(features: Tensor) -> tuple[list[int], torch.dtype]:
    """(d + 1) steps of the code along the axes, and the integer type that holds every code.

    The codes pack coordinates as digits do. Only bandwidths below about 1/1000 of the photo need more than 64 bits;
    then the coordinates are hashed, with fixed odd factors modulo 2^64. That is linear too, so neighbours are still
    found, and even a 12-megapixel photo has a collision with probability below 1/1000.
    """
    axis = torch.arange(1, len(features) + 1, dtype=torch.float64)
    spans = (features.amax(1) - features.amin(1)).double().cpu()
    # Coordinate j of a point is (sum of features 1..j) + j * feature j, hence the span that it can have.
    sizes = [math.ceil(span) + 2 * MARGIN + 1 for span in (spans.cumsum(0) + axis * spans).tolist()]
    total = math.prod(sizes)
    strides = [math.prod(sizes[:j]) for j in range(len(sizes))] if total < 2**63 else list(HASH[: len(sizes)])
    back = (-sum(strides) + 2**63) % 2**64 - 2**63
    return [back, *strides], torch.int32 if total < 2**31 else torch.int64


def _locate(features: Tensor, strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The simplex around each point (Adams et al., section 3.1): codes and barycentric weights, both (d + 1, n)."""
    dims = len(features)
    point = _elevate(features)
    nearest = point.round()
    rest = point - nearest
    rank = _rank(rest)
    # The nearest multiples of d + 1 may sum to other than 0; the coordinates furthest off move by one.
    rank += nearest.sum(0).long()
    shift = (rank < 0).float() - (rank > dims).float()
    rank += ((dims + 1) * shift).long()
    nearest += shift
    rest -= shift

    ordered = torch.empty_like(rest).scatter_(0, rank, rest)
    weights = ordered.flip(0)
    weights[1:] -= ordered.flip(0)[:-1]
    weights[0] += 1 - ordered[0]

    steps = torch.tensor(strides, dtype=torch.int64, device=features.device)[:, None]
    codes = torch.empty_like(rank).scatter_(0, rank, steps.expand_as(rank)).flip(0).roll(1, 0)
    codes[0] = -(nearest.long() * steps).sum(0)
    return codes.cumsum(0), weights


def _elevate(features: Tensor) -> Tensor:
    """(d, n) -> (d + 1, n) in the plane of coordinate sum 0, in units of d + 1."""
    point = features.new_empty(len(features) + 1, features.shape[1])
    total = torch.zeros_like(features[0])
    for j in range(len(features), 0, -1):
        torch.sub(total, features[j - 1], alpha=j, out=point[j])
        total = total + features[j - 1]
    point[0] = total
    return point


def _rank(values: Tensor) -> Tensor:
    """(d + 1, n) int64, the place of each value in its column, largest first; of equals the earlier one first."""
    rank = torch.zeros(values.shape, dtype=torch.uint8, device=values.device)
    for i in range(len(values)):
        less = (values[i] < values[i + 1 :]).to(torch.uint8)
        rank[i] += less.sum(0, dtype=torch.uint8)
        rank[i + 1 :] += 1 - less
    return rank.long()


def _index(codes: Tensor, weights: Tensor, strides: Sequence[int]) -> Lattice:
    """Number the distinct codes, and find each one's neighbours. ``codes`` (P, d + 1) may have wrapped around.

    That does no harm: their range fits the integer type, so codes are equal exactly where lattice points are.
    """
    ordered, order = codes.reshape(-1).sort(stable=True)
    order = order.int()
    points, counts = torch.unique_consecutive(ordered, return_counts=True)
    del ordered
    ranks = torch.arange(len(points), dtype=torch.int32, device=codes.device)
    corners = torch.empty(codes.numel(), dtype=torch.int32, device=codes.device)
    corners[order] = ranks.repeat_interleave(counts)
    starts = torch.zeros(len(points) + 1, dtype=torch.int32, device=codes.device)
    starts[1:] = counts.cumsum(0)
    blurs = tuple(_blur_table(points, step) for step in strides)
    return Lattice(corners.view_as(codes), weights, order, starts, blurs)


def _blur_table(points: Tensor, step: int) -> Table:
    """Blur along one axis with weights 1/2, 1, 1/2. ``points`` (V,) are sorted codes."""
    own = torch.arange(len(points), device=points.device)
    rows, weights = [own], [torch.ones(len(points), dtype=torch.float32, device=points.device)]
    for offset in (step, -step):
        wanted = points + offset
        place = torch.searchsorted(points, wanted).clamp_(max=len(points) - 1)
        rows.append(place)
        weights.append((points[place] == wanted).float() / 2)
    starts = torch.arange(0, 3 * len(points) + 1, 3, dtype=torch.int32, device=points.device)
    return Table(torch.stack(rows, 1).int().reshape(-1), torch.stack(weights, 1).reshape(-1), starts)


class Filter:
    """A sum of Gaussian filters of the same P points, each normalised and weighted, ready to be applied often.

    Filter k is strength_k * N K N with K its kernel and N = diag(1 / sqrt(K 1)): the symmetric normalisation, which
    keeps the matrix symmetric as mean field wants it (Kraehenbuehl and Koltun 2013, "Parameter learning and convergent
    inference for dense random fields"). The weights of all lattices lie in one table, so a pass reads each point once.
    """

    def __init__(self, parts: Sequence[tuple[Lattice, float]]) -> None:
        # The lattices themselves are not kept: for a large photo they take as much memory as these tables.
        self.sizes = [lattice.size for lattice, _ in parts]
        self.blurs = [lattice.blurs for lattice, _ in parts]
        corners = parts[0][0].corners
        self.reads = corners.new_empty(len(corners), sum(lattice.corners.shape[1] for lattice, _ in parts))
        self.shares = torch.empty_like(self.reads, dtype=torch.float32)
        splats = []
        first = column = 0
        for lattice, strength in parts:
            splat, scale = _splat_table(lattice)
            splats.append(splat)
            columns = slice(column, column + lattice.corners.shape[1])
            torch.add(lattice.corners, first, out=self.reads[:, columns])
            torch.mul(lattice.weights, strength * scale[:, None], out=self.shares[:, columns])
            first, column = first + lattice.size, columns.stop
        self.splat = _stack(splats)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tables."""
        tables = [self.splat, *(table for blurs in self.blurs for table in blurs)]
        return self.reads.nbytes + self.shares.nbytes + sum(t.rows.nbytes + t.weights.nbytes + t.starts.nbytes for t in tables)

    def __call__(self, values: Tensor) -> Tensor:
        """(P, M) float32 -> (P, M) float32. Fastest where M is a multiple of 8."""
        return self.read(self.spread(values), slice(None))

    def spread(self, values: Tensor) -> Tensor:
        """(P, M) -> (V, M): splat and blur, the half that needs all points."""
        parts = self.splat(values).split(self.sizes)
        return torch.cat([_blur(tables, part) for tables, part in zip(self.blurs, parts, strict=True)])

    def read(self, spread: Tensor, points: slice) -> Tensor:
        """(V, M) -> (n, M): slice, the half that may be done for some points at a time."""
        return embedding_bag(self.reads[points], spread, mode="sum", per_sample_weights=self.shares[points])


def _splat_table(lattice: Lattice) -> tuple[Table, Tensor]:
    """The table P -> V with the normaliser folded into its weights, and the normaliser (P,)."""
    count, width = lattice.corners.shape
    points = lattice.order // width
    weights = lattice.weights.reshape(-1)[lattice.order]
    plain = Table(points, weights, lattice.starts)
    starts = torch.arange(count + 1, dtype=torch.int32, device=points.device) * width
    back = Table(lattice.corners.reshape(-1), lattice.weights.reshape(-1), starts)
    total = back(lattice.blur(plain(weights.new_ones(count, 1))))[:, 0]
    scale = (total + TINY).rsqrt()
    return Table(points, weights * scale[points], lattice.starts), scale


def _stack(tables: Sequence[Table]) -> Table:
    """The tables' output rows one after another."""
    starts = [tables[0].starts]
    for table in tables[1:]:
        starts.append(table.starts[1:] + starts[-1][-1])
    return Table(torch.cat([t.rows for t in tables]), torch.cat([t.weights for t in tables]), torch.cat(starts))
