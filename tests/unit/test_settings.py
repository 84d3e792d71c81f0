"""Settings, fingerprints and budgets: what must agree is compared, and a refusal names both values."""

import dataclasses

import numpy as np
import pytest

from nagindex.corpus.columns import Columns
from nagindex.errors import BadInputError, SettingsMismatchError
from nagindex.index import Index
from nagindex.nag import NagSpec
from nagindex.select.budget import Budget
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.settings import Settings

SPEC = NagSpec("up", (8, 8), 3)
CODES = np.array([[[0, 1, 2], [5, 6, 7]]], np.uint16)
CHANGES = [
    ({"weights": "a" * 64}, f"weights is '{'0' * 12}' in the index and '{'a' * 12}' here"),
    ({"weights": "0" * 20 + "b" * 44}, f"weights is '{'0' * 21}' in the index and '{'0' * 20}b' here"),
    ({"tokenizer": "d" * 64}, f"tokenizer is '{'1' * 12}' in the index and '{'d' * 12}' here"),
    ({"max_length": 64}, "`max_length` is 120 in the index and 64 here"),
    ({"dtype": "bfloat16"}, "`dtype` is 'float32' in the index and 'bfloat16' here"),
    ({"attention": "eager"}, "`attention` is 'sdpa' in the index and 'eager' here"),
    ({"spec": NagSpec("gate", (8, 8), 3)}, "`neuron_type` is 'up' in the index and 'gate' here"),
    ({"spec": NagSpec("up", (8, 8), 2)}, "`top_k` is 3 in the index and 2 here"),
    ({"spec": NagSpec("up", (8, 9), 3)}, "widths is [8, 8] in the index and [8, 9] here"),
    ({"spec": NagSpec("up", (8, 8, 8), 3)}, "`layers` is 2 in the index and 3 here"),
    ({"spec": NagSpec("up", (8, 8), 3, (0, 2))}, "`layers` is 2 in the index and '0,2' here"),
    ({"impact": "relative", "calibration": "e" * 64}, "`impact` is 'absolute' in the index and 'relative' here"),
    ({"impact": "relative", "calibration": "e" * 64}, f"`calibration` is None in the index and '{'e' * 12}' here"),
]


@pytest.mark.parametrize(("change", "phrase"), CHANGES, ids=[phrase.split()[0] for _, phrase in CHANGES])
def test_a_difference_names_both_values(fingerprint, change, phrase):
    """Every field that a NAG depends on is compared, and the message holds the index's value and the other."""
    ours = fingerprint(SPEC)
    other = dataclasses.replace(ours, **change)
    with pytest.raises(SettingsMismatchError) as caught:
        ours.require(other, where="my.nagindex")
    assert phrase in str(caught.value)
    assert str(caught.value).startswith("my.nagindex: ")
    assert ours.key() != other.key()
    assert ours.differences(ours) == []


@pytest.mark.parametrize(
    ("impact", "calibration"),
    [
        ("relative", None),
        ("absolute", "e" * 64),
        ("loud", None),
        ("relative", "e" * 63),
        ("relative", "../" + "e" * 61),
    ],
)
def test_a_fingerprint_that_contradicts_itself_cannot_be(fingerprint, impact, calibration):
    """Relative impact has the hash of a calibration, which names a file, and absolute impact none."""
    with pytest.raises(ValueError, match="calibration"):
        fingerprint(SPEC, impact=impact, calibration=calibration)


@pytest.mark.parametrize("numbers", [(0,), (0, 1, 2), (1, 0), (1, 1), (-1, 0), ()])
def test_layers_have_ascending_numbers_one_each(numbers):
    """In a spec of two layers."""
    with pytest.raises(ValueError, match="2 layers with the numbers"):
        NagSpec("up", (8, 8), 3, numbers)


def test_a_moved_backbone_is_the_same(fingerprint):
    """Where the model lies is no part of the encoding: its weights are."""
    ours, moved = fingerprint(SPEC), fingerprint(SPEC, backbone="/elsewhere")
    ours.require(moved, where="x")
    assert ours.key() == moved.key()


def test_other_libraries_are_refused_unless_accepted(fingerprint):
    """Library versions are compared; the remedy says how to mix."""
    ours = fingerprint(SPEC)
    other = fingerprint(SPEC, libraries=ours.libraries | {"torch": "0.1"})
    with pytest.raises(
        SettingsMismatchError, match=rf"torch version is '{ours.libraries['torch']}'.*'0\.1'.*`accept_libraries=True`"
    ):
        ours.require(other, where="x")
    ours.require(other, where="x", ignore_libraries=True)
    with pytest.raises(SettingsMismatchError, match="max_length"):
        ours.require(dataclasses.replace(other, max_length=5), where="x", ignore_libraries=True)


def test_a_fingerprint_comes_back_as_it_was_written(fingerprint):
    """JSON and back loses nothing."""
    ours = fingerprint(SPEC)
    assert Fingerprint.from_json(ours.to_json()) == ours


SETTINGS = [{"text_column": "body"}, {"id_column": "key"}, {"token_column": "n"}, {"keep_columns": ("q",)}]


@pytest.mark.parametrize("change", SETTINGS, ids=str)
def test_building_with_other_settings_is_refused_naming_both(tmp_path, fingerprint, write_index, change):
    """An index that holds documents keeps the settings it was created with."""
    write_index(tmp_path / "i", CODES, np.array(["a"]), [1], width=SPEC.widths[0])
    with pytest.raises(SettingsMismatchError) as caught:
        Index.create(tmp_path / "i", fingerprint(SPEC), Settings(**change))
    [(name, value)] = change.items()
    assert name in str(caught.value)
    assert "not given in the index" in str(caught.value)
    assert (value if isinstance(value, str) else ", ".join(value)) in str(caught.value)


def test_an_index_that_holds_nothing_takes_other_settings(tmp_path, fingerprint):
    """A first build that failed on a wrong column does not bind the corrected one."""
    first = Index.create(tmp_path / "i", fingerprint(SPEC), Settings(text_column="wrong"))
    again = Index.create(tmp_path / "i", fingerprint(SPEC, max_length=64), Settings(text_column="right"))
    assert (again.manifest.version, again.manifest.settings.text_column) == (first.manifest.version + 1, "right")
    assert again.manifest.fingerprint.max_length == 64


def test_creating_twice_with_the_same_settings_opens_what_is_there(tmp_path, fingerprint, write_index):
    """The second creation finds the first one's version and adds none."""
    first = write_index(tmp_path / "i", CODES, np.array(["a"]), [1], width=SPEC.widths[0])
    again = Index.create(tmp_path / "i", fingerprint(SPEC, backbone="/moved"), Settings())
    assert again.manifest == first.manifest
    with pytest.raises(SettingsMismatchError, match=r"`max_length` is 120.*64"):
        Index.create(tmp_path / "i", fingerprint(SPEC, max_length=64), Settings())


@pytest.mark.parametrize("given", [{}, {"documents": 1, "tokens": 1}, {"tokens": 5, "fraction": 0.5}])
def test_exactly_one_budget_is_needed(given):
    """None, or two, is an error that names the options."""
    with pytest.raises(BadInputError, match=r"one budget.*`n`.*`tokens`.*`fraction`"):
        Budget(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"documents": 0},
        {"documents": -1},
        {"tokens": 0},
        {"fraction": 0.0},
        {"fraction": 1.5},
        {"fraction": -0.1},
        {"fraction": float("nan")},
    ],
)
def test_a_budget_of_nothing_or_too_much_is_refused(given):
    """At least one document or token, and a share above 0 and at most 1."""
    with pytest.raises(BadInputError):
        Budget(**given)


def test_budgets_are_in_their_unit():
    """Documents are counted, tokens and shares of the pool's tokens are summed; a share is rounded down."""
    assert (Budget(documents=5).counts_tokens, Budget(documents=5).amount(documents=50, tokens=100)) == (False, 5)
    assert (Budget(tokens=7).counts_tokens, Budget(tokens=7).amount(documents=50, tokens=100)) == (True, 7)
    assert Budget(fraction=0.205).amount(documents=50, tokens=100) == 20
    assert Budget(fraction=1.0).amount(documents=50, tokens=100) == 100
    assert (Budget(unlimited=True).counts_tokens, Budget(unlimited=True).amount(documents=50, tokens=100)) == (
        False,
        50,
    )
    assert Budget(documents=5, unlimited=True) == Budget(documents=5)


def test_kept_columns_may_be_a_list(tmp_path, fingerprint):
    """`Columns(keep_columns=["label"])` is what a user writes; an index made so is found again."""
    columns = Columns(keep_columns=["label"])
    settings = Settings(keep_columns=tuple(columns.keep_columns))
    assert columns == Columns(keep_columns=("label",))
    assert Columns(keep_columns="label").keep_columns == ("label",)
    for _ in range(2):
        assert Index.create(tmp_path / "i", fingerprint(SPEC), settings).manifest.settings.keep_columns == ("label",)


def test_a_column_that_selections_have_is_renamed_in_new_indexes_and_opens_in_old_ones(tmp_path, fingerprint):
    """Format version 1 did not reserve the American spelling."""
    assert dict(Columns(keep_columns=("standardized",)).kept) == {"source_standardized": "standardized"}
    Index.create(tmp_path / "i", fingerprint(SPEC), Settings(keep_columns=("standardized",)))
    assert Index.open(tmp_path / "i").manifest.settings.keep_columns == ("standardized",)
