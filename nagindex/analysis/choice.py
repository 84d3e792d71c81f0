"""Choices of neurons, layer by layer: made from the NAGs of a target's examples, written to files and read from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.arguments import checked, layer_ranges, written_layers
from nagindex.errors import BadInputError, InputNotFoundError
from nagindex.nag import Codes, NagSpec
from nagindex.query.html import records
from nagindex.search.profile import profile_of
from nagindex.search.view import View
from nagindex.search.weights import Weighting
from nagindex.sketches.popularity import popularity_of
from nagindex.storage.files import replacing
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

COUNT = 20
"""Neurons of a layer that are chosen by default."""
METHODS = ("frequency", "contrast", "log-odds", "log-ratio", "impact", "random")
"""Ways to choose neurons; `contrast:A`, `log-odds:M` and `log-ratio:M` are written as weights are."""
FORMAT = "nagindex.neurons"
MLP_TYPES = ("up", "gate", "down")
"""Neuron types whose neurons can be switched off."""


@dataclass(frozen=True)
class NeuronChoice:
    """Neurons chosen in some layers of a model.

    Attributes:
        neurons: neurons of each layer by the layer's number in the model, the first choice first.
        neuron_type: type of the neurons, such as `up`.
        by: how they were chosen, such as `frequency`; empty where that is not known.
        target: name of the target that they were chosen for.
        backbone: name of the model; empty where that is not known.
        warnings: sentences for the user; not written to files.
    """

    neurons: Mapping[int, Sequence[int]]
    neuron_type: str = "up"
    by: str = ""
    target: str = ""
    backbone: str = ""
    warnings: Sequence[str] = field(default_factory=tuple, compare=False)

    def __len__(self) -> int:
        return sum(map(len, self.neurons.values()))

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON values, as `write` writes them."""
        origin = {name: getattr(self, name) for name in ("neuron_type", "by", "target", "backbone")}
        return {"format": FORMAT, **origin, "layers": {str(layer): [*own] for layer, own in self.neurons.items()}}

    def _repr_html_(self) -> str:
        """Return the neurons of each layer as an HTML table, for notebooks."""
        rows = [{"layer": layer, "neurons": ", ".join(map(str, own))} for layer, own in self.neurons.items()]
        return f"<p>{len(self):,} {escape(self.neuron_type)} neurons</p>{records(rows)}"

    def write(self, path: str | Path) -> None:
        """Write the choice as a JSON file, which replaces one that exists.

        Raises:
            BadInputError: there is no such folder.
        """
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_json()) + "\n")

    @classmethod
    @checked
    def read(cls, path: str | Path) -> NeuronChoice:
        """Return the choice that a file holds: one of `write`, or a JSON object of nothing but layers, as the published code writes.

        Raises:
            InputNotFoundError: there is no such file.
            BadInputError: it holds something else; names what is wrong.
        """
        try:
            content = json.loads(Path(path).read_bytes())
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise InputNotFoundError(f"{path}: no such file; name one that nagindex deactivate has written") from None
        except (ValueError, RecursionError) as error:
            raise BadInputError(
                f"{path}: not JSON ({error}); name a file that nagindex deactivate has written"
            ) from None
        if not isinstance(content, dict):
            raise BadInputError(f"{path}: holds no JSON object; name a file that nagindex deactivate has written")
        named = content.get("format") == FORMAT
        origin = {name: content.get(name, "") for name in ("neuron_type", "by", "target", "backbone")} if named else {}
        if not all(isinstance(value, str) for value in origin.values()):
            raise BadInputError(f"{path}: its {', '.join(origin)} are not all texts; write the file again")
        return cls(_read_layers(content.get("layers") if named else content, where=str(path)), **origin)


def _read_layers(layers: object, *, where: str) -> dict[int, list[int]]:
    """Return neurons by layer from a JSON object of them.

    Raises:
        BadInputError: it is none, or empty.
    """
    if not isinstance(layers, dict) or not layers:
        raise BadInputError(f"{where}: names no layers; name a file that nagindex deactivate has written")
    for layer, neurons in layers.items():
        written = [layer, *neurons] if isinstance(neurons, list) else [""]
        if not all(str(number).isascii() and str(number).isdecimal() for number in written):
            raise BadInputError(f"{where}, layer {layer}: layers and neurons are whole numbers from 0 up")
    return {int(layer): [*map(int, neurons)] for layer, neurons in layers.items()}


def require_choosable(spec: NagSpec, count: int, by: str, layers: str | int | Sequence[int] | None = None) -> View:
    """Return the view of the layers whose neurons are chosen.

    Args:
        spec: shape of the index's NAGs.
        count: number of neurons of each layer.
        by: the way to choose them.
        layers: the layers; None for all.

    Raises:
        BadInputError: there is no such way or layer, or a layer has fewer neurons than `count`.
    """
    if by not in METHODS and by.partition(":")[0] not in METHODS[1:4]:
        raise BadInputError(f"`by` {by!r}: one of {', '.join(METHODS)}")
    weighting_of(by)
    view = View.of(spec, written_layers(layers))
    if not 1 <= count <= min(view.spec.widths):
        raise BadInputError(f"`count` {count}: a layer has {min(view.spec.widths):,} neurons; choose 1 to that many")
    return view


def choose_for(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    count: int,
    by: str,
    *,
    layers: str | int | Sequence[int] | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> NeuronChoice:
    """Return the neurons that stand for a target; see `Index.choose_neurons`.

    Raises:
        BadInputError: there are several targets; or as `require_choosable`.
    """
    fingerprint = snapshot.manifest.fingerprint
    view = require_choosable(fingerprint.spec, count, by, layers)
    if len(targets) != 1:
        names = ", ".join(target.name for target in targets)
        raise BadInputError(f"neurons are chosen for one target at a time, and {names} are several; give one of them")
    [target], weighting = targets, weighting_of(by)
    pool, documents = None, 0
    if weighting is not None and weighting.compares_with_pool:
        pool, documents = popularity_of(snapshot.segments, view, threads=threads)
    numbers = tuple(view.whole.layer_numbers[layer] for layer in view.layers)
    spec = dataclasses.replace(view.spec, numbers=numbers)
    neurons = choose_neurons(view(target.codes), spec, count, by, pool=pool, documents=documents, seed=seed)
    warnings = list(target.warnings)
    if short := [layer for layer, own in neurons.items() if len(own) < count]:
        held = (
            f"{layer_ranges(short)}: fewer than {count} neurons are in the examples' NAGs, and only these were chosen"
        )
        warnings.append(f"layers {held}; give more examples, or a smaller `count`")
    how = f"{by}, seed {seed}" if by == "random" else by if weighting is None else str(weighting)
    return NeuronChoice(neurons, fingerprint.spec.neuron_type, how, target.name, fingerprint.backbone, tuple(warnings))


def weighting_of(by: str) -> Weighting | None:
    """Return the weights by which neurons are chosen; None where they are chosen by impact or at random."""
    return None if by in ("impact", "random") else Weighting.parse("contrast:1" if by == "contrast" else by)


def choose_neurons(
    codes: Codes,
    spec: NagSpec,
    count: int = COUNT,
    by: str = "frequency",
    *,
    pool: npt.NDArray[np.int64] | None = None,
    documents: int = 0,
    seed: int = 0,
) -> dict[int, list[int]]:
    """Return neurons of each layer, by its number in the model, the first choice first, ties to the lower index.

    Only neurons that some example's NAG holds are chosen, except at random, so a layer may have fewer than `count`.

    Args:
        codes: uint16 [n, L, K], the NAGs of a target's examples, n at least 1.
        spec: shape of the NAGs.
        count: number of neurons of each layer.
        by: `frequency` among the examples (the published code); `contrast[:A]`, `log-odds[:m]` or `log-ratio[:m]`, which compare it
            with the pool; `impact`, their places in the examples' orders of impact: K for the strongest neuron of a layer, K - 1 for
            the next, summed over the examples; or `random`, of all neurons of a layer.
        pool: int64 [L, max d_l], documents of the pool that hold each neuron; read by weights that compare with the pool.
        documents: number of documents of the pool.
        seed: of the random choice.

    Raises:
        BadInputError: there is no such `by`, or a layer has fewer neurons than `count`.

    Source: arXiv 2604.15706, section 4.1.1, and its published code.
    """
    require_choosable(spec, count, by)
    if by == "random":
        return random_neurons(dict(zip(spec.layer_numbers, [count] * spec.layers, strict=True)), spec, seed)
    held = profile_of(codes, spec).weights
    weighting = weighting_of(by)
    if weighting is None:
        values = _places(codes, spec)
    else:
        none = np.zeros_like(held)
        values = weighting.profile_of(codes, none if pool is None else pool, documents, spec).weights
    ranked = (
        np.lexsort((-own, counts == 0))[: min(count, np.count_nonzero(counts))]
        for own, counts in zip(values, held, strict=True)
    )
    return {number: own.tolist() for number, own in zip(spec.layer_numbers, ranked, strict=True)}


def random_neurons(counts: Mapping[int, int], spec: NagSpec, seed: int) -> dict[int, list[int]]:
    """Return neurons drawn at random without replacement, by layer.

    Args:
        counts: number of neurons by layer.
        spec: the layers' numbers and widths.
        seed: of the draw.
    """
    widths, random = dict(zip(spec.layer_numbers, spec.widths, strict=True)), np.random.default_rng(seed)
    return {layer: random.choice(widths[layer], count, replace=False).tolist() for layer, count in counts.items()}


def _places(codes: Codes, spec: NagSpec) -> npt.NDArray[np.int64]:
    """Return the sum over examples of K - place of each neuron, places from 0 for the strongest; int64 [L, max d_l]."""
    points = np.tile(np.arange(spec.top_k, 0, -1), len(codes))
    summed = [np.bincount(codes[:, layer].ravel(), points, max(spec.widths)) for layer in range(spec.layers)]
    return np.stack(summed).astype(np.int64)
