"""Fixtures of the tests of reports: an index with labels, and two targets."""

import numpy as np
import pytest
from reported import LAYERS, TEXTS, WIDTH, K

LABELS = ("law", "biology", None)


@pytest.fixture
def index(tmp_path, write_index, random_codes):
    """An index of 90 documents in two segments with a label and a number each, some of them deleted."""
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


@pytest.fixture
def targets(random_codes):
    """Two targets of codes, which are not alike."""
    return {name: random_codes(np.random.default_rng(seed), 6, LAYERS, K, WIDTH) for name, seed in (("s", 5), ("t", 6))}
