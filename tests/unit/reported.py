"""What the tests of reports share: an index with labels, two targets, and the figures of a selection's report."""

import numpy as np

from nagindex.query.reports import report_of

LABELS = ("law", "biology", None)
LAYERS, K, WIDTH = 3, 4, 12
TEXTS = [f"text {n} of a document about the river and the {n} foxes that it has" for n in range(90)]


def labeled_index(tmp_path, write_index, random_codes):
    """Return an index of 90 documents in two segments with a label and a number each, some of them deleted."""
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 90, LAYERS, K, WIDTH)
    kept = [(LABELS[n % 3], float(n)) for n in range(90)]
    made = write_index(
        *(tmp_path / "i", codes, [f"d{n:02d}" for n in range(90)], np.arange(90) + 5),
        width=WIDTH,
        cuts=(40,),
        kept=kept,
        keep=("label", "number"),
        texts=TEXTS,
    )
    made.delete(ids=["d00", "d41"])
    return made


def two_targets(random_codes):
    """Return two targets of codes, which are not alike."""
    return {name: random_codes(np.random.default_rng(seed), 6, LAYERS, K, WIDTH) for name, seed in (("s", 5), ("t", 6))}


def figures(selection, **options):
    """Return the figures of a selection's report."""
    return report_of(selection._selected(), **options)
