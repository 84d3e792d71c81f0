"""What the published code does with a ranking, against its outputs: other layers, quality signals, several targets."""

import numpy as np
import pytest
import reference_data as data

from nagindex.select.signals import Quality

ABSOLUTE = 1e-12
LAYERS = {"last": "last", "first": "first", "0_2": "0,2"}
SETS = ("science_train", "story_train", "code_test")


@pytest.fixture(scope="module")
def golden_index(tmp_path_factory, write_index):
    """Return f(arch): an index of the reference's own lists in three segments, with the quality columns kept."""
    made = {}

    def make(arch):
        if arch not in made:
            pool = data.table("docs.parquet")
            made[arch] = write_index(
                tmp_path_factory.mktemp(arch) / "pool.nagindex",
                data.features(arch, "docs"),
                [row["docid"] for row in pool],
                [row["token_num"] for row in pool],
                width=data.WIDTH,
                cuts=(5, 17),
                keep=("quality", "quality_const"),
                kept=[(row["quality"], row["quality_const"]) for row in pool],
            )
        return made[arch]

    return make


def examples(arch, target):
    return data.features(arch, "targets")[data.of_target(target)]


def assert_same_selection(selection, expected, column, reference_column):
    """The same values in the same order within rounding; inside groups of equal values, and at the cut, any choice."""
    found = np.array(selection.column(column), float)
    values = np.array([row[reference_column] for row in expected])
    np.testing.assert_allclose(found, values, rtol=0, atol=ABSOLUTE)
    edge = values[-1] - ABSOLUTE
    of_theirs = dict(zip((row["docid"] for row in expected), values, strict=True))
    inside = [(i, value) for i, value in zip(selection.ids, found, strict=True) if value < edge]
    assert {i for i, _ in inside} == {i for i, value in of_theirs.items() if value < edge}
    for name, value in inside:
        assert abs(of_theirs[name] - value) <= ABSOLUTE


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("arch", data.ARCHITECTURES)
def test_other_layers_rank_as_the_reference_does(golden_index, arch, layers):
    """`--layers` gives the ranking that the reference gives on features cut down to these layers."""
    expected = data.table(f"ranked/{arch}/fwd_up_layers_{layers}__science_train__1.0.parquet")
    selection = golden_index(arch).query(examples(arch, "science_train"), fraction=1.0, layers=LAYERS[layers])
    assert len(selection) == len(expected) == 42
    found = dict(zip(selection.ids, 1 - selection.scores, strict=True))
    np.testing.assert_allclose(
        [found[row["docid"]] for row in expected], [row["nag_distance"] for row in expected], rtol=0, atol=ABSOLUTE
    )
    np.testing.assert_allclose(
        1 - selection.scores, sorted(row["nag_distance"] for row in expected), rtol=0, atol=ABSOLUTE
    )


QUALITIES = sorted(path.relative_to(data.DATA).as_posix() for path in (data.DATA / "ranked").glob("*/quality*.parquet"))


def test_all_quality_rankings_are_compared():
    """Two in each architecture, and in one three more: a constant column either way, and the whole pool."""
    assert len(QUALITIES) == 3 * 2 + 3


@pytest.mark.parametrize("name", QUALITIES)
def test_quality_ranks_as_the_reference_does(golden_index, name):
    """Min-max normalized distance and quality, added up, order the pool; rows without quality are left out of pool and budget."""
    arch, (kind, target, fraction) = name.split("/")[1], name.split("/")[2].removesuffix(".parquet").split("__")
    expected = data.table(name)
    selection = golden_index(arch).query(
        examples(arch, target),
        fraction=float(fraction),
        quality=Quality(
            "quality_const" if "const" in kind else "quality",
            lower_is_better=not kind.endswith(
                "_inv"
            ),  # the reference adds the column as it is unless told to invert it
        ),
    )
    assert_same_selection(selection, expected, "combined", "combined_score")
    distances = dict(zip(selection.ids, 1 - selection.scores, strict=True))
    for row in expected:
        if row["docid"] in distances:
            assert abs(distances[row["docid"]] - row["nag_distance"]) <= ABSOLUTE
    dropped = [row for row in data.table("docs.parquet") if row["quality"] is None]
    if "const" not in kind:
        assert f"documents without a value in column quality, which are left out: {len(dropped)}" in selection.warnings


def targets_of(arch):
    return {name: examples(arch, name) for name in SETS}


def ids_by_target(selection):
    found = {name: [] for name in SETS}
    for name, identifier in zip(selection.column("target"), selection.ids, strict=True):
        found[name].append(identifier)
    return found


@pytest.mark.parametrize(("share", "files"), [(0.0667, "mt_{}"), (0.2, "fwd_up__{}__0.2")])
def test_each_target_selects_what_it_selects_alone_in_the_reference(golden_index, share, files):
    """`--mix merge` gives each of three targets a third of the budget, chosen on its own."""
    total = sum(row["token_num"] for row in data.table("docs.parquet"))
    selection = golden_index("qwen3").query(targets_of("qwen3"), tokens=3 * int(total * share), mix="merge")
    found = ids_by_target(selection)
    for name in SETS:
        expected = [row["docid"] for row in data.table(f"ranked/qwen3/{files.format(name)}.parquet")]
        assert len(found[name]) == len(expected)
        scores = data.distances("qwen3", name)
        distance = dict(zip((row["docid"] for row in data.table("docs.parquet")), scores, strict=True))
        np.testing.assert_allclose(
            [distance[i] for i in found[name]], sorted(distance[i] for i in expected), rtol=0, atol=ABSOLUTE
        )


@pytest.mark.parametrize(
    ("mix", "share", "name"),
    [
        ("merge", 0.0667, "multi_target"),
        ("merge", 0.2, "multi_target_0.2"),
        ("distinct", 0.2, "multi_target_0.2_dedup"),
    ],
)
def test_mixtures_equal_the_references(golden_index, mix, share, name):
    """The merged selections hold the same documents as often, with and without duplicates, with the same distances."""
    total = sum(row["token_num"] for row in data.table("docs.parquet"))
    selection = golden_index("qwen3").query(targets_of("qwen3"), tokens=3 * int(total * share), mix=mix)
    expected = data.table(f"ranked/qwen3/{name}.parquet")
    assert sorted(selection.ids) == sorted(row["docid"] for row in expected)
    found = sorted(zip(selection.ids, 1 - selection.scores, strict=True))
    theirs = sorted((row["docid"], row["nag_distance"]) for row in expected)
    if mix == "merge":
        np.testing.assert_allclose([d for _, d in found], [d for _, d in theirs], rtol=0, atol=ABSOLUTE)
    assert (len(set(selection.ids)) == len(selection)) == (
        mix == "distinct" or len(set(selection.ids)) == len(expected)
    )
