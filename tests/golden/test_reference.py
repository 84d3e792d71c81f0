"""nagindex against the outputs of the published code (github asillycat/NAG, commit 4b9d266); README.md says how to compare."""

import json
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
import reference_data as data
import torch

from nagindex import build
from nagindex.backbone.hooks import impacts_of
from nagindex.backbone.load import load_backbone
from nagindex.encode.batch import pad
from nagindex.encode.encoder import Encoder
from nagindex.encode.tokenize import tokenize

RELATIVE = 1e-5
ABSOLUTE = 1e-12
TARGETS = ("science_train", "story_train", "code_test", "all")


@pytest.fixture(scope="module", params=data.ARCHITECTURES)
def encoded(request):
    """One architecture with our token ids and, from one forward pass, codes of all six types of the 42 pool and 13 target texts."""
    backbone = load_backbone(str(data.DATA / "models" / request.param), device="cpu", dtype="float32")
    backbones = {kind: backbone.of_type(ours) for kind, ours in data.TYPES.items()}
    texts = [row["doc"] for row in data.table("docs.parquet") + data.table("targets.parquet")]
    tokens = tokenize(backbone.tokenizer, texts, max_length=data.MAX_LENGTH)
    specs = [b.fingerprint(top_k=data.TOP_K, max_length=data.MAX_LENGTH).spec for b in backbones.values()]
    encode = partial(_encode, list(backbones.values()), specs, tokens.ids)
    return SimpleNamespace(
        arch=request.param, backbone=backbone, backbones=backbones, tokens=tokens, encode=encode, codes=encode(4096)
    )


def _encode(backbones, specs, ids, batch_tokens):
    return dict(zip(data.TYPES, Encoder(backbones, specs, batch_tokens).encode(ids), strict=True))


@pytest.fixture(scope="module")
def golden_index(encoded, tmp_path_factory):
    """An index of the 42 pool documents, built through the public API."""
    folder = tmp_path_factory.mktemp(encoded.arch) / "pool.nagindex"
    index, report = build(
        data.DATA / "docs.parquet", folder, backbone=encoded.backbone, preset="paper", top_k=data.TOP_K
    )
    assert (report.documents, sum(report.skipped.values())) == (42, 0)
    return index


def _features(arch, kind):
    return np.concatenate([data.features(arch, part, kind) for part in ("docs", "targets")])


def _lists_that_differ(a, b):
    return int((a != b).any(axis=-1).sum())


def _wrong_beyond_ties(codes, scores):
    """Return how many lists hold an index below the K-th best score, or rise in score, by more than rounding."""
    kth = np.sort(scores, axis=-1)[..., -data.TOP_K]
    listed = np.take_along_axis(scores, codes.astype(np.int64), axis=-1)
    below = listed.min(axis=-1) < kth * (1 - RELATIVE)
    rising = (listed[..., 1:] > listed[..., :-1] * (1 + RELATIVE)).any(axis=-1)
    return int((below | rising).sum())


@pytest.mark.parametrize("kind", data.TYPES)
def test_nags_equal_the_reference(encoded, kind):
    """All 220 (text, layer) lists hold the reference's neurons in falling order of impact, up to rounding."""
    expected, scores, found = _features(encoded.arch, kind), data.scores(encoded.arch, kind), encoded.codes[kind]
    assert found.shape == expected.shape == (55, 4, 20)
    assert found.shape[0] * found.shape[1] == 220
    assert _wrong_beyond_ties(expected, scores) == 0, "the golden files disagree with each other"
    assert _wrong_beyond_ties(found, scores) == 0
    if kind in ("att_k", "att_v"):
        return  # every value stands there twice: which of the two is listed is the reference's chance
    assert _lists_that_differ(np.sort(found), np.sort(expected)) == 0
    swapped = _lists_that_differ(found, expected)
    print(f"{encoded.arch} {kind}: {swapped} of 220 lists have neighbors swapped within rounding")
    assert swapped <= 2


@pytest.mark.parametrize("kind", ["k", "v"])
def test_real_heads_are_listed_once(encoded, kind):
    """By default keys and values have no twins: the list is the reference's scores without the repeated heads, ranked."""
    backbone = encoded.backbone.of_type(kind)
    spec = backbone.fingerprint(top_k=data.TOP_K, max_length=data.MAX_LENGTH).spec
    [found] = Encoder([backbone], [spec], 4096).encode(encoded.tokens.ids)
    scores = data.scores(encoded.arch, f"att_{kind}")
    config = encoded.backbone.model.config
    by_head = scores.reshape(55, 4, config.num_attention_heads, -1)
    real = by_head[:, :, :: config.num_attention_heads // config.num_key_value_heads].reshape(55, 4, -1)
    assert spec.widths == (real.shape[-1],) * 4
    assert _wrong_beyond_ties(found, real) == 0
    assert (np.diff(np.sort(found.astype(int))) > 0).all()


def _assert_same_impacts(found, expected):
    """Within 1e-5 relative; where terms cancel to nearly nothing, within 3e-6 of the layer's largest impact."""
    error = np.abs(found - expected)
    allowed = np.maximum(RELATIVE * np.abs(expected), 3e-6 * expected.max(axis=-1, keepdims=True))
    assert (error <= allowed).all(), f"largest error {(error / allowed).max():.1f} times what is allowed"


def _impacts(encoded, ids, mask):
    """Return impacts of all types, {type: float32 [batch, 4, width]}, from one forward pass."""
    projections = [p for backbone in encoded.backbones.values() for p in backbone.projections]
    found = impacts_of(encoded.backbone.model, projections, ids, mask, causal=encoded.backbone.causal)
    return {kind: torch.stack(found[4 * i : 4 * i + 4], dim=1).numpy() for i, kind in enumerate(data.TYPES)}


def test_impacts_equal_the_references_scores(encoded):
    """Every neuron's impact, one text at a time as the reference ran, is the reference's score within 1e-5."""
    for number, ids in enumerate(encoded.tokens.ids):
        row = torch.tensor([ids])
        for kind, found in _impacts(encoded, row, torch.ones_like(row)).items():
            _assert_same_impacts(found[0], data.scores(encoded.arch, kind)[number])


@pytest.mark.parametrize("side", ["right", "left"])
def test_impacts_of_one_padded_batch_equal_the_references_scores(encoded, side):
    """The same holds for all 55 texts in one batch, padded to 120 tokens on either side."""
    ids, mask = pad(encoded.tokens.ids, 0)
    if side == "left":
        turned = [torch.tensor(row)[None] for row in encoded.tokens.ids]
        ids = torch.cat([torch.nn.functional.pad(row, (ids.shape[1] - row.shape[1], 0)) for row in turned])
        mask = mask.flip(1)
    for kind, found in _impacts(encoded, ids, mask).items():
        _assert_same_impacts(found, data.scores(encoded.arch, kind))


def test_one_text_at_a_time_gives_the_references_nags(encoded):
    """Batches of one text, as the reference ran, hold the same neurons as batches of many."""
    for kind, alone in encoded.encode(1).items():
        assert _wrong_beyond_ties(alone, data.scores(encoded.arch, kind)) == 0
        if kind not in ("att_k", "att_v"):
            assert _lists_that_differ(np.sort(alone), np.sort(_features(encoded.arch, kind))) == 0


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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", [kind for kind in data.TYPES if kind != "fwd_up"])
def test_distances_of_other_types_equal_the_reference(encoded, write_index, tmp_path, kind, target):
    """The same for indexes of the other types' codes; of repeated keys and values, the reference's own choice among twins."""
    codes = _features(encoded.arch, kind) if kind in ("att_k", "att_v") else encoded.codes[kind]
    ids = [row["docid"] for row in data.table("docs.parquet")]
    width = data.scores(encoded.arch, kind).shape[-1]
    index = write_index(tmp_path / "x.nagindex", codes[:42], ids, np.ones(42, int), width=width)
    selection = index.query(codes[42:][data.of_target(target)], n=42)
    found = dict(zip(selection.ids, 1 - selection.scores, strict=True))
    expected = data.distances(encoded.arch, target, kind)
    np.testing.assert_allclose([found[name] for name in ids], expected, rtol=0, atol=ABSOLUTE)


def _rankings():
    for path in sorted((data.DATA / "ranked").glob("*/*.parquet")):
        parts = path.stem.split("__")
        if parts[0] not in data.TYPES:
            continue  # test_selection.py has the others
        kind, target, fraction, variant = (*parts, "")[:4]
        column = "token_num_nan" if variant == "token_nan" else "token_num"
        share = 1e-5 if fraction == "tiny" else float(fraction)
        name = f"ranked/{path.parent.name}/{path.name}"
        yield pytest.param(path.parent.name, kind, target, share, column, name, id=f"{path.parent.name}-{path.stem}")


RANKINGS = list(_rankings())


def test_all_rankings_are_compared():
    """Four target sets by two fractions and one of each other type in three architectures, and in one three more."""
    assert len(RANKINGS) == 3 * (4 * 2 + 5) + 3


@pytest.fixture(scope="module")
def code_index(tmp_path_factory, write_index):
    """Return f(arch, kind, column): an index of the reference's own lists in three segments; a missing token count is 0."""

    @cache
    def make(arch, kind, column):
        pool = data.table("docs.parquet")
        folder = tmp_path_factory.mktemp("codes") / "pool.nagindex"
        ids, tokens = [row["docid"] for row in pool], [int(row[column] or 0) for row in pool]
        return write_index(folder, data.features(arch, "docs", kind), ids, tokens, width=data.WIDTH, cuts=(5, 17))

    return make


def _groups(arch, kind, target):
    """Return the pool's ids as a list of sets of equal distance (within 1e-12), nearest first."""
    ids = [row["docid"] for row in data.table("docs.parquet")]
    ranked = sorted(zip(data.distances(arch, target, kind), ids, strict=True))
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


@pytest.mark.parametrize(("arch", "kind", "target", "fraction", "column", "name"), RANKINGS)
def test_selections_equal_the_reference(code_index, arch, kind, target, fraction, column, name):
    """Shares of the pool's tokens select the reference's documents, up to the choice among equals at the cut."""
    expected = [row["docid"] for row in data.table(name)]
    selection = code_index(arch, kind, column).query(
        data.features(arch, "targets", kind)[data.of_target(target)], fraction=fraction
    )
    groups = _groups(arch, kind, target)
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
