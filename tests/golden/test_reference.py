"""nagindex against the outputs of the published code (github asillycat/NAG, commit 4b9d266); README.md says how to compare."""

import json
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import reference_data as data
import torch

from nagindex import build
from nagindex.backbone import load_backbone
from nagindex.encode import encode_ids, tokenise

RELATIVE = 1e-5
ABSOLUTE = 1e-12
TARGETS = ("science_train", "story_train", "code_test", "all")


@pytest.fixture(scope="module", params=data.ARCHITECTURES)
def encoded(request):
    """One architecture with our token ids and codes of the 42 pool and 13 target texts."""
    backbone = load_backbone(str(data.DATA / "models" / request.param), device="cpu", dtype="float32")
    texts = [row["doc"] for row in data.table("docs.parquet") + data.table("targets.parquet")]
    tokens = tokenise(backbone, texts, max_length=data.MAX_LENGTH)
    spec = backbone.fingerprint(top_k=data.TOP_K, max_length=data.MAX_LENGTH).spec
    codes = encode_ids(backbone, tokens.ids, spec, batch_tokens=4096)
    return SimpleNamespace(arch=request.param, backbone=backbone, tokens=tokens, spec=spec, codes=codes)


@pytest.fixture(scope="module")
def golden_index(encoded, tmp_path_factory):
    """An index of the 42 pool documents, built through the public API."""
    folder = tmp_path_factory.mktemp(encoded.arch) / "pool.nagindex"
    index, report = build(data.DATA / "docs.parquet", folder, backbone=encoded.backbone, top_k=data.TOP_K)
    assert (report.documents, sum(report.skipped.values())) == (42, 0)
    return index


def _features(arch):
    return np.concatenate([data.features(arch, part) for part in ("docs", "targets")])


def _lists_that_differ(a, b):
    return int((a != b).any(axis=-1).sum())


def _wrong_beyond_ties(codes, scores):
    """Return how many lists hold an index below the K-th best score, or rise in score, by more than rounding."""
    kth = np.sort(scores, axis=-1)[..., -data.TOP_K]
    listed = np.take_along_axis(scores, codes.astype(np.int64), axis=-1)
    below = listed.min(axis=-1) < kth * (1 - RELATIVE)
    rising = (listed[..., 1:] > listed[..., :-1] * (1 + RELATIVE)).any(axis=-1)
    return int((below | rising).sum())


def test_nags_equal_the_reference(encoded):
    """All 220 (text, layer) lists hold the reference's neurons in falling order of impact, up to rounding."""
    expected, scores = _features(encoded.arch), data.scores(encoded.arch)
    assert encoded.codes.shape == expected.shape == (55, 4, 20)
    assert encoded.codes.shape[0] * encoded.codes.shape[1] == 220
    assert _wrong_beyond_ties(expected, scores) == 0, "the golden files disagree with each other"
    assert _wrong_beyond_ties(encoded.codes, scores) == 0
    assert _lists_that_differ(np.sort(encoded.codes), np.sort(expected)) == 0
    swapped = _lists_that_differ(encoded.codes, expected)
    print(f"{encoded.arch}: {swapped} of 220 lists have neighbours swapped within rounding")
    assert swapped <= 2


def _assert_same_impacts(found, expected):
    """Within 1e-5 relative; where terms cancel to nearly nothing, within 3e-6 of the layer's largest impact."""
    error = np.abs(found - expected)
    allowed = np.maximum(RELATIVE * np.abs(expected), 3e-6 * expected.max(axis=-1, keepdims=True))
    assert (error <= allowed).all(), f"largest error {(error / allowed).max():.1f} times what is allowed"


def test_impacts_equal_the_references_scores(encoded):
    """Every neuron's impact, one text at a time as the reference ran, is the reference's score within 1e-5."""
    for ids, expected in zip(encoded.tokens.ids, data.scores(encoded.arch), strict=True):
        row = torch.tensor([ids])
        found = np.stack([layer[0].numpy() for layer in encoded.backbone.impacts(row, torch.ones_like(row))])
        _assert_same_impacts(found, expected)


def test_impacts_of_one_padded_batch_equal_the_references_scores(encoded):
    """The same holds for all 55 texts in one batch, padded to 120 tokens."""
    lengths = torch.tensor([len(ids) for ids in encoded.tokens.ids])
    mask = (torch.arange(data.MAX_LENGTH) < lengths[:, None]).long()
    ids = torch.zeros_like(mask)
    ids[mask.bool()] = torch.tensor([token for row in encoded.tokens.ids for token in row])
    found = torch.stack(encoded.backbone.impacts(ids, mask), dim=1).numpy()
    _assert_same_impacts(found, data.scores(encoded.arch))


def test_one_text_at_a_time_gives_the_references_nags(encoded):
    """Batches of one text, as the reference ran, hold the same neurons as batches of many."""
    alone = encode_ids(encoded.backbone, encoded.tokens.ids, encoded.spec, batch_tokens=1)
    assert _wrong_beyond_ties(alone, data.scores(encoded.arch)) == 0
    assert _lists_that_differ(np.sort(alone), np.sort(_features(encoded.arch))) == 0


def test_token_counts_equal_the_references(encoded):
    """Whole documents are counted, not their first 120 tokens, with nothing special added."""
    expected = [row["token_num"] for row in data.table("docs.parquet") + data.table("targets.parquet")]
    assert encoded.tokens.counts.tolist() == expected
    assert max(expected) > data.MAX_LENGTH


@pytest.mark.parametrize("target", TARGETS)
def test_distances_equal_the_reference(encoded, golden_index, tmp_path, target):
    """1 - score of every document, asked of an index built from the texts, is the reference's distance within 1e-12."""
    examples = [row for row, kept in zip(data.table("targets.parquet"), data.of_target(target), strict=True) if kept]
    path = tmp_path / f"{target}.jsonl"
    path.write_text("".join(json.dumps({"id": row["docid"], "text": row["doc"]}) + "\n" for row in examples))
    selection = golden_index.query(path, n=42)
    found = dict(zip(selection.ids, 1 - selection.scores, strict=True))
    ordered = [found[row["docid"]] for row in data.table("docs.parquet")]
    np.testing.assert_allclose(ordered, data.distances(encoded.arch, target), rtol=0, atol=ABSOLUTE)
    assert len(selection) == 42


def _rankings():
    for path in sorted((data.DATA / "ranked").glob("*/fwd_up__*.parquet")):
        _, target, fraction, *variant = path.stem.split("__")
        column = "token_num_nan" if variant == ["token_nan"] else "token_num"
        share = 1e-5 if fraction == "tiny" else float(fraction)
        name = f"ranked/{path.parent.name}/{path.name}"
        yield pytest.param(path.parent.name, target, share, column, name, id=f"{path.parent.name}-{path.stem}")


RANKINGS = list(_rankings())


def test_all_rankings_are_compared():
    """Four target sets by two fractions in three architectures, and in one a half, a tiny share and missing token counts."""
    assert len(RANKINGS) == 3 * 4 * 2 + 3


@pytest.fixture(scope="module")
def code_index(tmp_path_factory, write_index):
    """Return f(arch, column): an index of the reference's own lists in three segments; a missing token count is 0."""

    @cache
    def make(arch, column):
        pool = data.table("docs.parquet")
        folder = tmp_path_factory.mktemp("codes") / "pool.nagindex"
        ids, tokens = [row["docid"] for row in pool], [int(row[column] or 0) for row in pool]
        return write_index(folder, data.features(arch, "docs"), ids, tokens, width=data.WIDTH, cuts=(5, 17))

    return make


def _groups(arch, target):
    """Return the pool's ids as a list of sets of equal distance (within 1e-12), nearest first."""
    ids = [row["docid"] for row in data.table("docs.parquet")]
    ranked = sorted(zip(data.distances(arch, target), ids, strict=True))
    groups, last = [], -np.inf
    for distance, name in ranked:
        if distance - last > ABSOLUTE:
            groups.append(set())
        groups[-1].add(name)
        last = distance
    return groups


def _by_group(ids, groups):
    number = {name: i for i, group in enumerate(groups) for name in group}
    numbers = [number[name] for name in ids]
    assert numbers == sorted(numbers), "a farther document stands before a nearer one"
    return numbers


@pytest.mark.parametrize(("arch", "target", "fraction", "column", "name"), RANKINGS)
def test_selections_equal_the_reference(code_index, arch, target, fraction, column, name):
    """Shares of the pool's tokens select the reference's documents, up to the choice among equals at the cut."""
    expected = [row["docid"] for row in data.table(name)]
    selection = code_index(arch, column).query(
        data.features(arch, "targets")[data.of_target(target)], fraction=fraction
    )
    groups = _groups(arch, target)
    mine, theirs = _by_group(selection.ids, groups), _by_group(expected, groups)
    cut = max(mine[-1], theirs[-1])
    for group in range(cut):
        assert mine.count(group) == theirs.count(group) == len(groups[group])
    if fraction == 1.0:
        assert sorted(selection.ids) == sorted(expected)
    assert len(set(selection.ids)) == len(selection)
    _is_the_longest_prefix(selection, groups, fraction, column)


def _is_the_longest_prefix(selection, groups, fraction, column):
    """Check that the selection is as long as the budget allows in order of distance and id, and no longer."""
    tokens = {row["docid"]: int(row[column] or 0) for row in data.table("docs.parquet")}
    order = [name for group in groups for name in sorted(group)]
    budget, used, kept = int(sum(tokens.values()) * fraction), 0, []
    for document in order:
        used += tokens[document]
        if used > budget and kept:
            break
        kept.append(document)
        if used > budget:
            break
    assert list(selection.ids) == kept
