"""Neurons off: nothing of them reaches the down projection, in every family, and afterwards the model is what it was."""

import json

import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES, LAYERS, MIXTURES, WIDTH, random_model

from nagindex.analysis import NeuronChoice, deactivated
from nagindex.backbone.projections import find_projections
from nagindex.errors import BadInputError, InputNotFoundError, UnsupportedBackboneError

IDS = torch.tensor([[5, 9, 30, 7, 7, 12], [3, 4, 11, 31, 8, 20]])
KEYS = {0: [1, 5, 43], 2: [0]}


def into_down(model):
    """Return the input of each layer's down projection in one pass, [tokens, neurons] each."""
    seen = []
    modules = [projection.module for projection in find_projections(model, "down")]
    handles = [
        module.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone().flatten(0, -2)))
        for module in modules
    ]
    output(model)
    for handle in handles:
        handle.remove()
    return seen


def output(model):
    """Return what a model makes of two texts."""
    with torch.inference_mode():
        return model(input_ids=IDS).last_hidden_state


def hooks_of(model):
    """Return the number of forward hooks in a model."""
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_neurons_that_are_off_reach_no_down_projection(name):
    """Their inputs of it are 0 and all others are not changed, in the first layer; afterwards outputs are bit for bit as before."""
    model = random_model(FAMILIES[name])
    before, untouched, hooks = into_down(model), output(model), hooks_of(model)
    with deactivated(model, KEYS):
        inside, changed = into_down(model), output(model)
    for layer, own in KEYS.items():
        assert (inside[layer][:, own] == 0).all()
        assert (before[layer][:, own] != 0).any()
    others = np.setdiff1d(np.arange(before[0].shape[1]), KEYS[0])
    assert torch.equal(inside[0][:, others], before[0][:, others])
    assert not torch.equal(changed, untouched)
    assert torch.equal(output(model), untouched)
    assert hooks_of(model) == hooks


def test_blocks_nest_and_an_exception_leaves_nothing_behind():
    model = random_model(FAMILIES["Qwen3"])
    untouched = output(model)
    with deactivated(model, KEYS):
        outer = output(model)
        with deactivated(model, {1: [7]}):
            both = output(model)
        assert torch.equal(output(model), outer)
    with deactivated(model, {**KEYS, 1: [7]}):
        assert torch.equal(output(model), both)
    with pytest.raises(RuntimeError, match="inside"), deactivated(model, KEYS):
        raise RuntimeError("inside")
    assert torch.equal(output(model), untouched)
    with pytest.raises(BadInputError), deactivated(model, {0: [3], 9: [1]}):
        pass
    assert torch.equal(output(model), untouched)


@pytest.mark.parametrize("kind", ["gate", "down"])
def test_neurons_of_the_gate_and_of_the_down_projection_can_be_off(kind):
    """A gate that is 0 silences the neuron; a neuron of `down` is a column of the MLP's output."""
    model = random_model(FAMILIES["Phi3"])
    choice = NeuronChoice({1: [4, 30]}, neuron_type=kind)
    if kind == "gate":
        with deactivated(model, choice):
            assert (into_down(model)[1][:, [4, 30]] == 0).all()
        return
    seen = []
    handle = find_projections(model, "down")[1].module.register_forward_hook(lambda *given: seen.append(given[2]))
    output(model)
    handle.remove()
    with deactivated(model, choice):
        find_projections(model, "down")[1].module.register_forward_hook(lambda *given: seen.append(given[2]))
        output(model)
    assert (seen[0][..., [4, 30]] != 0).any()
    assert (seen[1][..., [4, 30]] == 0).all()


def test_a_model_with_its_head_is_patched_as_the_one_without():
    """The layers are those of the text model inside, and gradients flow through what is on."""
    config = transformers.LlamaConfig(**FAMILIES["Llama"].options)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with deactivated(model, KEYS):
        model(input_ids=IDS).logits.sum().backward()
        assert torch.equal(model(input_ids=IDS).logits, model.lm_head(model.model(input_ids=IDS).last_hidden_state))
        inside = into_down(model.model)
    assert (inside[0][:, KEYS[0]] == 0).all()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad
    assert (gradient[KEYS[0]] == 0).all()
    assert (gradient[2] != 0).any()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({LAYERS: [0]}, f"layer {LAYERS}: the model has layers 0 to {LAYERS - 1}"),
        ({-1: [0]}, "layer -1: the model has layers"),
        ({0: [WIDTH]}, f"layer 0: no neuron {WIDTH}; the model has 0 to {WIDTH - 1}"),
        ({0: [-1]}, "layer 0: no neuron -1"),
    ],
)
def test_neurons_that_the_model_does_not_have_are_named(keys, message):
    with pytest.raises(BadInputError, match=message), deactivated(random_model(FAMILIES["Llama"]), keys):
        pass


def test_models_and_types_that_cannot_be_switched_off_are_refused():
    with (
        pytest.raises(UnsupportedBackboneError, match="mixture of experts"),
        deactivated(random_model(MIXTURES["Mixtral"]), KEYS),
    ):
        pass
    model = random_model(FAMILIES["Llama"])
    for kind in ("q", "k", "v", "o"):
        with (
            pytest.raises(UnsupportedBackboneError, match=f"neuron type '{kind}': neurons of types up, gate, down"),
            deactivated(model, NeuronChoice({0: [1]}, neuron_type=kind)),
        ):
            pass


def test_a_choice_is_read_as_it_was_written(tmp_path):
    """And a bare object of layers, as the published code writes, is one of `up` neurons."""
    path = tmp_path / "keys.json"
    choice = NeuronChoice({3: [4, 1], 0: [2]}, "gate", "log-odds:40", "mine", "a/model")
    choice.write(path)
    assert NeuronChoice.read(path) == choice
    assert len(choice) == 3
    path.write_text(json.dumps({"0": [5, 6], "11": []}))
    assert NeuronChoice.read(path) == NeuronChoice({0: [5, 6], 11: []})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[1]", "holds no JSON object"),
        ("{}", "names no layers"),
        ('{"0": 3}', "layer 0: layers and neurons are whole numbers"),
        ('{"0": [1.5]}', "layer 0: layers and neurons are whole numbers"),
        ('{"0": [-1]}', "layer 0: layers and neurons are whole numbers"),
        ('{"0": [true]}', "layer 0: layers and neurons are whole numbers"),
        ('{"first": [1]}', "layer first: layers and neurons are whole numbers"),
        ('{"format": "nagindex.neurons", "layers": []}', "names no layers"),
        ('{"format": "nagindex.neurons", "by": 3, "layers": {"0": [1]}}', "are not all texts"),
    ],
)
def test_files_of_something_else_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "keys.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInputError, match=message) as raised:
        NeuronChoice.read(path)
    assert str(raised.value).startswith(str(path))
    with pytest.raises(InputNotFoundError, match="no such file"):
        NeuronChoice.read(tmp_path / "none.json")
