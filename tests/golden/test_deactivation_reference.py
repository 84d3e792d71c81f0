"""Chosen neurons, and a model without them, against the published code's; README.md says how to compare."""

import numpy as np
import pytest
import reference_data as data
import torch

from nagindex.analysis import NeuronChoice, deactivated
from nagindex.analysis.choice import choose_neurons
from nagindex.backbone.load import load_backbone
from nagindex.backbone.projections import find_projections
from nagindex.nag import NagSpec

SPEC = NagSpec("up", (data.WIDTH,) * data.LAYERS, data.TOP_K)
FILES = sorted((data.DATA / "deactivation").glob("*/science_train_k*.json"))


def name_of(path):
    """Return the test's name for a file of the reference."""
    return f"{path.parent.name}-{path.stem}"


def test_all_choices_are_compared():
    """Twenty neurons a layer in three architectures, and in one of them three other numbers."""
    assert len(FILES) == 3 + 3


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_chosen_neurons_equal_the_reference_by_count(path):
    """As many examples hold each of our neurons as hold the reference's; which of equals it takes depends on its processor."""
    codes = data.features(path.parent.name, "targets")[data.of_target("science_train")]
    expected = NeuronChoice.read(path).neurons
    found = choose_neurons(codes, SPEC, int(path.stem.rpartition("k")[2]))
    assert list(found) == list(expected) == [0, 1, 2, 3]
    for layer, theirs in expected.items():
        counts = np.bincount(codes[:, layer].ravel(), minlength=data.WIDTH)
        assert counts[found[layer]].tolist() == counts[theirs].tolist()
        assert len(set(found[layer])) == len(theirs)
        left = np.setdiff1d(np.arange(data.WIDTH), found[layer])
        assert counts[left].max() <= counts[found[layer]].min()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_model_without_them_is_the_one_that_the_reference_patches(path):
    """Bit for bit: it sets rows of the up projection's weights to 0."""
    model = load_backbone(str(data.DATA / "models" / path.parent.name), device="cpu", dtype="float32").model
    ids = torch.arange(3, 63).reshape(2, 30)
    with torch.inference_mode(), deactivated(model, path):
        found = model(input_ids=ids).last_hidden_state
    untouched = model(input_ids=ids).last_hidden_state
    for layer, neurons in NeuronChoice.read(path).neurons.items():
        weight = find_projections(model)[layer].module.weight
        with torch.no_grad():
            weight.index_fill_(0, torch.tensor(neurons), 0.0)
    patched = model(input_ids=ids).last_hidden_state
    assert torch.equal(found, patched)
    assert not torch.allclose(found, untouched)
