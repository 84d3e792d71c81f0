"""The benchmarks' synthetic pools: valid NAGs, the same for a seed, as concentrated as real ones."""

import numpy as np
import pytest

import nagindex
from nagindex.nag import NagSpec

synthetic, synthetic_fit = (pytest.importorskip(f"benchmarks.{name}") for name in ("synthetic", "synthetic_fit"))

SHAPES = {"absolute": NagSpec("up", (1536,) * 4, 20), "relative": NagSpec("up", (1536,) * 4, 5)}
both = pytest.mark.parametrize("kind", SHAPES)


def popularity(codes):
    """Return the share of documents with each neuron, most popular first, float64 [L, d]."""
    counts = [np.bincount(codes[:, layer].ravel(), minlength=1536) for layer in range(codes.shape[1])]
    return -np.sort(-np.stack(counts), axis=1) / len(codes)


@both
def test_codes_are_distinct_neurons_of_their_layer(kind):
    for spec in (SHAPES[kind], NagSpec("up", (48,) * 2, 20), NagSpec("up", (4096,), 3)):
        codes = synthetic.make_codes(300, kind=kind, spec=spec)
        assert (codes.shape, codes.dtype) == ((300, *spec.shape), np.uint16)
        assert codes.max() < spec.widths[0]
        assert (np.diff(np.sort(codes, axis=2), axis=2) > 0).all()


@both
def test_a_seed_gives_the_same_documents_and_another_seed_others(kind):
    first, again, other = (synthetic.make_codes(5000, seed=seed, kind=kind, spec=SHAPES[kind]) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).any(axis=(1, 2)).mean() > 0.99


@pytest.mark.parametrize(
    ("kind", "in_20", "in_255"), [("absolute", (0.6, 0.8), (0.95, 1.0)), ("relative", (0.18, 0.38), (0.65, 0.92))]
)
def test_popular_neurons_take_as_much_as_in_real_pools(kind, in_20, in_255):
    by_rank = popularity(synthetic.make_codes(4000, kind=kind, spec=SHAPES[kind])).mean(axis=0) / SHAPES[kind].top_k
    assert in_20[0] < by_rank[:20].sum() < in_20[1]
    assert in_255[0] < by_rank[:255].sum() < in_255[1]


@both
def test_targets_resemble_documents_of_their_source_more_than_others(kind):
    spec = SHAPES[kind]
    codes = synthetic.make_codes(2000, seed=3, kind=kind, spec=spec)
    sources = synthetic.sources_of(2000, seed=3, world=synthetic.world_of(kind, spec.top_k))
    similar = synthetic_fit.similarities(codes, synthetic.make_codes(100, seed=9, topic=0, kind=kind, spec=spec), spec)
    own = sources == synthetic.FIRST_TARGET
    assert similar[own].mean() > similar[~own].mean() + similar[~own].std()


def test_a_pool_is_an_index_whose_files_are_its_sources(tmp_path):
    spec = SHAPES["relative"]
    synthetic.write_pool(tmp_path / "i", 500, kind="relative", spec=spec)
    index = nagindex.open(tmp_path / "i")
    assert synthetic.kind_of(index.manifest.fingerprint.backbone) == "relative"
    assert np.array_equal(index.codes[0], synthetic.make_codes(500, kind="relative", spec=spec))
    files = [name for (name,) in index.sql("SELECT file FROM docs ORDER BY id").fetchall()]
    sources = synthetic.sources_of(500, seed=0, world=synthetic.world_of("relative", spec.top_k))
    assert files == [f"synthetic-{source:02d}.parquet" for source in sources]
    assert list(index.verify()) == []
