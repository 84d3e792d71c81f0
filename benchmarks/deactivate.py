"""Bits per byte of held-out texts of two targets after neurons are switched off: those of each target, or random ones.

    python -m benchmarks.deactivate --nags NAGS.npz --targets gsm8k.jsonl hellaswag.jsonl

Of each file of targets, the first --examples choose neurons, and --texts others are held out. NAGs come from an .npz file (`absolute` of
the pool, `target_NAME_absolute` and `target_NAME_docid` of the examples, uint16 [n, L, K] and str [n]); without one, from an index of
--pool that is built for it. Each line is measured on both targets' texts. `--quick` uses the project's sample data, and few texts.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

import nagindex
from benchmarks.report import emit, options, rounded
from nagindex.analysis import deactivated
from nagindex.analysis.choice import NeuronChoice, choose_neurons
from nagindex.analysis.deactivation import mlp_projections
from nagindex.analysis.losses import DeactivationLosses, Loss
from nagindex.backbone.language_model import LanguageModel, load_language_model
from nagindex.nag import NagSpec

DATA = Path(__file__).parent.parent / "data"
METHODS = ("frequency", "contrast", "log-odds", "impact")
TOP_K = 20


def texts_of(path: Path) -> dict[str, str]:
    """Return the texts of a file of JSON lines by their ids, or by their rows."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {str(row.get("docid", n)): row.get("doc") or row["text"] for n, row in enumerate(rows)}


def from_file(
    file: Path, names: list[str], examples: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, list[str]]]:
    """Return the pool's codes, the codes of each target's first examples, and the ids of all its examples that have codes."""
    with np.load(file) as arrays:
        chosen = {name: arrays[f"target_{name}_absolute"][:examples, :, :TOP_K] for name in names}
        ids = {name: arrays[f"target_{name}_docid"].tolist() for name in names}
        return arrays["absolute"][:, :, :TOP_K], chosen, ids


def from_index(
    pool: Path, model: str, texts: dict[str, dict[str, str]], examples: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, list[str]]]:
    """Return the same from an index of a pool, and of texts, that are encoded for it."""
    with tempfile.TemporaryDirectory() as folder:
        index, _ = nagindex.build(pool, Path(folder, "pool.nagindex"), model=model, preset="paper", top_k=TOP_K)
        ids = {name: [*own][:examples] for name, own in texts.items()}
        chosen = {name: index.encode([texts[name][one] for one in own])[0].codes for name, own in ids.items()}
        return np.concatenate(index.codes), chosen, ids


class Measurement:
    """Bits of held-out texts of several targets, with neurons on and off.

    Args:
        model: the language model.
        held: held-out texts by target.
    """

    def __init__(self, model: LanguageModel, held: dict[str, list[str]]) -> None:
        self.model, self.texts = model, [text for own in held.values() for text in own]
        self.owners = np.repeat(list(held), [len(own) for own in held.values()])
        self.bytes = np.array([len(text.encode()) for text in self.texts])
        self.untouched = self.bits({})

    def bits(self, neurons: dict[int, list[int]]) -> np.ndarray:
        """Return the bits of each text with neurons off."""
        started = time.perf_counter()
        with deactivated(self.model.model, NeuronChoice(neurons)):
            found = self.model.bits(self.texts)
        print(f"{sum(map(len, neurons.values())):>6} neurons off: {time.perf_counter() - started:.0f} s", flush=True)
        return found

    def change(self, bits: np.ndarray, target: str) -> tuple[float, float]:
        """Return how many bits per byte more a target's texts take, and the standard error over the texts."""
        own = self.owners == target
        none = np.empty((0, own.sum()))
        losses = DeactivationLosses("", 1, self.bytes[own], [Loss("untouched", 0, self.untouched[own], none)])
        return losses.change(bits[own])


def main() -> None:
    """Measure and report."""
    arguments = options(
        __doc__ or "",
        nags={"type": Path, "metavar": "FILE", "help": "an .npz file of codes"},
        pool={"type": Path, "default": DATA / "corpus", "help": "documents, where there is no --nags"},
        targets={"nargs": "+", "type": Path, "default": sorted((DATA / "targets").glob("*.jsonl")), "metavar": "FILE"},
        model={"default": "smollm2"},
        examples={"type": int, "default": 100, "help": "examples that choose neurons"},
        texts={"type": int, "default": 100, "help": "held-out texts of each target"},
        draws={"type": int, "default": 5, "help": "random draws"},
        counts={"type": int, "nargs": "+", "default": [5, 20, 40], "metavar": "N", "help": "neurons of a layer"},
    )
    if arguments.quick:
        arguments.pool, arguments.targets = arguments.pool / "part-000.jsonl", arguments.targets[:2]
        arguments.examples, arguments.texts, arguments.draws, arguments.counts = 8, 3, 2, [5]
    texts = {path.stem: texts_of(path) for path in arguments.targets}
    if arguments.nags is not None:
        pool, chosen, used = from_file(arguments.nags, list(texts), arguments.examples)
    else:
        pool, chosen, used = from_index(arguments.pool, arguments.model, texts, arguments.examples)
    held = {
        name: [text for one, text in own.items() if one not in set(used[name])][: arguments.texts]
        for name, own in texts.items()
    }
    model = load_language_model(arguments.model)
    spec = NagSpec("up", tuple(one.width for one in mlp_projections(model.model)), TOP_K)
    popularity = np.stack(
        [np.bincount(pool[:, layer].ravel(), minlength=max(spec.widths)) for layer in range(spec.layers)]
    )
    measurement = Measurement(model, held)
    rows, results = [], {"rows": []}

    def add(count: int, by: str, target: str, changes: dict[str, list[tuple[float, float]]]) -> None:
        """Add a line: the mean change of each target's texts, and the deviation of the draws or the error over the texts."""
        cells = []
        for own in changes.values():
            found = [change for change, _ in own]
            deviation = float(np.std(found, ddof=1)) if found[1:] else own[0][1]
            cells.append(f"{np.mean(found):+.3f} ± {deviation:.3f}")
        rows.append([count, f"{count * spec.layers / sum(spec.widths):.2%}", by, target, *cells])
        results["rows"].append({"count": count, "by": by, "target": target, "changes": changes})
        print("  ".join(map(str, rows[-1])), flush=True)
        if arguments.json is not None:  # what is measured stays if the run is stopped
            arguments.json.write_text(json.dumps(rounded(results)))

    for count in arguments.counts:
        for by in METHODS:
            for name, codes in chosen.items():
                neurons = choose_neurons(codes, spec, count, by, pool=popularity, documents=len(pool))
                bits = measurement.bits(neurons)
                add(count, by, name, {each: [measurement.change(bits, each)] for each in held})
        drawn = [
            measurement.bits(choose_neurons(pool[:1], spec, count, "random", seed=seed))
            for seed in range(arguments.draws)
        ]
        add(
            count,
            "random",
            f"{len(drawn)} draws",
            {each: [measurement.change(bits, each) for bits in drawn] for each in held},
        )
    own = {name: measurement.owners == name for name in held}
    results["untouched"] = {
        name: float(measurement.untouched[rows_].sum() / measurement.bytes[rows_].sum()) for name, rows_ in own.items()
    }
    results["sizes"] = {
        "pool": len(pool),
        "examples": {n: len(c) for n, c in chosen.items()},
        "texts": {n: len(t) for n, t in held.items()},
    }
    print(
        f"\n{results['sizes']}, bits per byte untouched: {results['untouched']}; changes of bits per byte of held-out texts:\n"
    )
    headings = ["off in a layer", "share", "by", "of", *(f"{name} texts" for name in held)]
    emit(headings, rows, results, arguments.json)


if __name__ == "__main__":
    main()
