"""How synthetic NAGs compare with real ones: popularity, overlap, variance, and scores.

python -m benchmarks.synthetic_fit --fit NAGS.npz
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.synthetic import FITTED_WIDTH, SPEC, TARGETS, WORLDS, make_codes
from nagindex.nag import Codes, NagSpec


def similarities(codes: Codes, examples: Codes, spec: NagSpec = SPEC) -> npt.NDArray[np.float64]:
    """Return each document's similarity to the profile of some examples, float64 [n]."""
    from nagindex.search.profile import profile_of
    from nagindex.search.scorers import score

    profile = profile_of(examples, spec)
    return score(codes, profile) / profile.scale


def statistics_of(codes: Codes, targets: dict[str, Codes], spec: NagSpec) -> dict[str, float]:
    """Return what the fit is judged by, of a pool's codes, uint16 [n, L, K], and of target sets' codes by name."""
    from nagindex.search.basis import Basis, fit
    from nagindex.search.profile import profile_of

    popularity = np.stack(
        [np.bincount(codes[:, layer].ravel(), minlength=spec.widths[0]) for layer in range(spec.layers)]
    )
    popularity = popularity / len(codes)
    by_rank = -np.sort(-popularity, axis=1).mean(axis=0) / spec.top_k
    found = {
        "codes in the 20 most popular": float(by_rank[:20].sum()),
        "codes in the 255 most popular": float(by_rank[:255].sum()),
        "shared by two documents": float((popularity**2).sum(axis=1).mean() / spec.top_k),
    }
    for rank in (32, 64, 128):
        vectors, found[f"variance kept, rank {rank}"] = fit(codes, spec, rank - 1, 0)
    basis = Basis(vectors, spec)
    coordinates = basis.coordinates(codes)
    similar = {name: similarities(codes, examples, spec) for name, examples in targets.items()}
    for name, values in similar.items():
        found |= {f"{name}: mean score": float(values.mean()), f"{name}: standard deviation": float(values.std())}
    for name, examples in targets.items():
        estimated = coordinates @ basis.coefficients(profile_of(examples, spec).weights)
        found[f"{name}: correlation"] = float(np.corrcoef(estimated, similar[name])[0, 1])
    return found


def main() -> None:
    """Show how synthetic NAGs compare with real ones, an .npz file of codes `absolute` and `relative`, uint16 [n, L, 20], and targets'."""
    from benchmarks.report import emit, options

    arguments = options(__doc__ or "", fit={"type": Path, "help": "real NAGs: arrays KIND, target_NAME_KIND"})
    real = np.load(arguments.fit) if arguments.fit else {}
    names = sorted({name.removeprefix("target_").rpartition("_")[0] for name in real if name.endswith("_absolute")})
    rows, results = [], {}
    for kind, top_k in [("absolute", 20), ("relative", 5)] if arguments.quick else WORLDS:
        shape = real[kind].shape if arguments.fit else (3663, 30, 20)
        spec = NagSpec("up", (FITTED_WIDTH,) * shape[1], top_k)
        count = min(shape[0], 1000) if arguments.quick else shape[0]
        targets = {f"target {t}": make_codes(300, seed=900 + t, topic=t, spec=spec, kind=kind) for t in range(TARGETS)}
        own = statistics_of(make_codes(count, seed=1, spec=spec, kind=kind), targets, spec)
        true = {}
        if arguments.fit:
            examples = {name: np.ascontiguousarray(real[f"target_{name}_{kind}"][:, :, :top_k]) for name in names}
            chosen = np.sort(np.random.default_rng(0).permutation(shape[0])[:count])
            true = statistics_of(np.ascontiguousarray(real[kind][chosen][:, :, :top_k]), examples, spec)
        results[f"{kind}, K = {top_k}"] = {"synthetic": own, "real": true}
        rows += [[kind, top_k, *row] for row in _compared(own, true)]
    emit(["impact", "K", "", "synthetic", "real", "ratio"], rows, {"fit": results}, arguments.json)


def _compared(own: dict[str, float], true: dict[str, float]) -> Iterator[list[str]]:
    """Yield a line for each statistic; targets are compared in order of their figure."""
    for name, value in own.items():
        if ":" not in name:
            yield _line(name, value, true.get(name))
    for what in ("mean score", "standard deviation", "correlation"):
        ours, theirs = (
            sorted((value, name.split(":")[0]) for name, value in found.items() if name.endswith(f": {what}"))
            for found in (own, true)
        )
        for number, (value, _) in enumerate(ours):
            match = theirs[number] if number < len(theirs) else (None, "")
            yield _line(f"{what}, target {number + 1} of {len(ours)} {match[1]}".strip(), value, match[0])


def _line(name: str, value: float, true: float | None) -> list[str]:
    ratio = f"{value / true:.2f}" if true else ""
    return [name, f"{value:.3f}", "" if true is None else f"{true:.3f}", ratio]


if __name__ == "__main__":
    sys.exit(main())
