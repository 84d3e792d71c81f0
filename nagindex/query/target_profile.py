"""Profiles of targets: the neurons that tell their examples from the pool, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError
from nagindex.query.html import records
from nagindex.query.pool import Passes, score_targets
from nagindex.search.profile import Profile, profile_of
from nagindex.search.view import View
from nagindex.search.weights import PRIOR, log_odds
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.select.query_files import QueryFiles
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.locations import location
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet


@dataclass(frozen=True)
class TargetProfile:
    """The neurons of a target's examples, with how much more frequent each is there than in the pool.

    The arrays [l, max d_l] belong to the neurons of the l layers that count; those beyond a layer's width are in no example.

    Attributes:
        examples: the encoded examples.
        weighting: what `weights` are, such as `log-odds:40`.
        layers: int64 [l], the layers' numbers in the backbone.
        weights: float64 [l, max d_l], weights of the neurons as a query counts them, those of logarithms in nats.
        z: float64 [l, max d_l], each neuron's log-odds ratio of examples to pool, with a prior, in standard deviations: what tells the
            most distinctive neurons from those that are only rare. The prior is that of the weighting, or of `log-odds`.
        of_examples: float64 [l, max d_l], the share of the examples whose NAG holds the neuron.
        of_pool: float64 [l, max d_l], the share of the index's documents whose NAG holds it.
    """

    examples: TargetSet
    weighting: str
    layers: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    of_examples: npt.NDArray[np.float64]
    of_pool: npt.NDArray[np.float64]

    @property
    def target(self) -> str:
        """The target's name."""
        return self.examples.name

    def to_json(self, *, neurons: int = 10) -> dict[str, Any]:
        """Return the profile as JSON values: of each layer the neurons of the largest z that an example holds.

        Args:
            neurons: number of neurons of each layer.
        """
        rows = []
        held = np.where(self.of_examples > 0, self.z, -np.inf)
        for place, layer in enumerate(self.layers.tolist()):
            for neuron in np.argsort(-held[place], kind="stable")[:neurons].tolist():
                if self.of_examples[place, neuron]:
                    rows.append(
                        {
                            "layer": layer,
                            "neuron": neuron,
                            "examples": float(self.of_examples[place, neuron]),
                            "pool": float(self.of_pool[place, neuron]),
                            "weight": float(self.weights[place, neuron]),
                            "z": float(self.z[place, neuron]),
                        }
                    )
        return {"target": self.target, "examples": len(self.examples.codes), "weights": self.weighting, "neurons": rows}

    def _repr_html_(self) -> str:
        """Return the most distinctive neuron of each layer as an HTML table, for notebooks."""
        told = self.to_json(neurons=1)
        heading = f"{self.target}: {told['examples']:,} examples, weights {self.weighting}"
        return f"<p>{escape(heading)}</p>{records(told['neurons'])}"


def profiles_of(
    snapshot: Snapshot, targets: Sequence[TargetSet], options: QueryOptions, *, threads: int | None = None
) -> list[TargetProfile]:
    """Return the profile of each target.

    Of the options, `weights`, `layers` and `top_k` count; and `background`, with the candidates that `where` and `exclude` leave.

    Args:
        snapshot: the version of the index.
        targets: the encoded target sets, at least one.
        options: the query options.
        threads: threads that count neurons; by default one for each CPU.

    Raises:
        BadInputError: the index is empty, or an option does not fit it.
    """
    if not snapshot.manifest.documents:
        raise BadInputError(f"{location(snapshot.path)}: the index holds no document to compare with; append some")
    view = View.of(snapshot.manifest.fingerprint.spec, options.written_layers, options.top_k)
    verify_segments(snapshot.segments, threads=threads)
    candidates = Candidates.find(snapshot, QueryFiles.read(options.excluded_files), where=options.where)
    scored = score_targets(candidates, targets, view, options, passes=Passes(threads))
    held, documents = popularity_of(snapshot.segments, view, threads=threads)
    numbers = np.array(view.whole.layer_numbers, np.int64)[list(view.layers)]
    found = []
    for target, own in zip(targets, scored, strict=True):
        if not isinstance(own, Profile):
            raise BadInputError(f"score {options.score}: a profile is of score mean; other scores weigh no neurons")
        counts = profile_of(view(target.codes), view.spec).weights
        weights = own.weights * (view.spec.layers * view.spec.top_k) / own.scale
        m = options.weighting.amount if options.weighting.kind.startswith("log") else PRIOR
        z = standardized_log_odds(counts, held, len(target.codes), documents, m)
        shares = counts / len(target.codes), held / documents
        found.append(TargetProfile(target, options.weights, numbers, weights, z, *shares))
    return found


def standardized_log_odds(
    counts: npt.NDArray[np.int64], held: npt.NDArray[np.int64], examples: int, documents: int, m: float
) -> npt.NDArray[np.float64]:
    """Return log-odds ratios with an informative Dirichlet prior over their standard deviations.

    Args:
        counts: int64, examples that hold a neuron.
        held: int64 of the same shape, documents of the pool that hold it.
        examples: number of examples.
        documents: number of documents of the pool.
        m: weight of the prior, in examples.

    Source: Monroe, Colaresi and Quinn, "Fightin' Words", Political Analysis 16(4), 2008, equations 16 and 20, with the variances of
        both outcomes, as a neuron that all examples hold is no evidence of infinite odds.
    """
    p = (held + 0.5) / (documents + 1)
    above, below = log_odds(counts.astype(np.float64), held.astype(np.float64), examples, documents, m)
    inside, outside = counts + m * p, examples - counts + m * (1 - p)
    variance = 1 / inside + 1 / outside + 1 / (held + 0.5) + 1 / (documents - held + 0.5)
    z: npt.NDArray[np.float64] = np.log(above / below) / np.sqrt(variance)
    return z
