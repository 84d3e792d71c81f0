"""Families: every neuron type is read where the model computes it; models without it are refused in one line."""

import copy
import functools

import families
import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES, HEADS, LAYERS, MIXTURES, SIZE, TYPES, Trace, random_model

from nagindex.backbone import hooks
from nagindex.backbone.hooks import impacts_of, probe
from nagindex.backbone.projections import find_projections
from nagindex.encode.batch import pad
from nagindex.errors import UnsupportedBackboneError

TEXTS = [[5, 9, 30, 7, 7], [3, 4, 11], [8, 20, 31, 59, 4, 4, 17, 12, 13]]


@functools.cache
def model_of(name):
    """Return a family's model as transformers runs it by default."""
    return random_model(FAMILIES[name])


@functools.cache
def traced(name):
    """Return a family's model without rotation, and the traced values of each text run alone."""
    family = FAMILIES[name]
    model = families.still(random_model(family, attn_implementation="eager"))
    exact = copy.deepcopy(model).double() if family.gated else model  # up is found by dividing, often by little
    return model, [Trace.of(family, exact, torch.tensor(text)) for text in TEXTS]


def impacts(model, kinds, texts=TEXTS):
    """Return each type's impacts as nagindex finds them in one pass, float32 [L, batch, d]."""
    probed = [probe(model, find_projections(model, kind)) for kind in kinds]
    ids, mask = pad(texts, model.config.pad_token_id or 0)
    together = [p for projections, _ in probed for p in projections]
    found = impacts_of(model, together, ids, mask, causal=all(causal for _, causal in probed))
    return [torch.stack(found[n * LAYERS : (n + 1) * LAYERS]).numpy() for n in range(len(kinds))]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_impacts_are_what_the_model_computes(name, kind):
    """In a padded batch they equal the mean magnitude of what a text's own pass multiplies and activates."""
    family = FAMILIES[name]
    model, traces = traced(name)
    if kind not in family.types:
        assert not traces[0][kind]
        with pytest.raises(UnsupportedBackboneError, match="no gate projection, as the model's MLP has none"):
            find_projections(model, kind)
        return
    (found,) = impacts(model, [kind])
    for number, trace in enumerate(traces):
        expected = np.stack([values.abs().mean(0).numpy() for values in trace[kind]])
        if kind == "q" and family.scales_q:
            expected *= SIZE**0.5
        np.testing.assert_allclose(found[:, number], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_types_from_one_pass_are_those_from_passes_of_their_own(name):
    """Bit for bit, also where one fused matrix holds several of them."""
    kinds = FAMILIES[name].types
    for kind, together in zip(kinds, impacts(model_of(name), kinds), strict=True):
        assert np.array_equal(together, impacts(model_of(name), [kind])[0])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", FAMILIES)
def test_padding_does_not_change_impacts(name, side):
    """On either side, with the model's own positions and attention."""
    model, kinds = model_of(name), FAMILIES[name].types
    probed = [probe(model, find_projections(model, kind)) for kind in kinds]
    causal, projections = probed[0][1], [p for found, _ in probed for p in found]
    ids, mask = pad(TEXTS, model.config.pad_token_id or 0)
    if side == "left":
        ids, mask = (
            torch.stack([r.roll(ids.shape[1] - len(t)) for r, t in zip(x, TEXTS, strict=True)]) for x in (ids, mask)
        )
    batch = impacts_of(model, projections, ids, mask, causal=causal)
    for number, text in enumerate(TEXTS):
        alone = impacts_of(model, projections, torch.tensor([text]), torch.ones(1, len(text), dtype=int), causal=causal)
        for padded_row, row in zip(batch, alone, strict=True):
            np.testing.assert_allclose(padded_row[number].numpy(), row[0].numpy(), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_sums_on_a_gpu_may_overwrite_padding(name, monkeypatch):
    """They zero it in the model's own tensors, which changes nothing for the tokens of any type."""
    model, kinds = model_of(name), FAMILIES[name].types
    expected, real = impacts(model, kinds), hooks.token_sums
    monkeypatch.setattr(hooks, "token_sums", lambda *given, fused: real(*given, fused=True))
    for found, values in zip(impacts(model, kinds), expected, strict=True):
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_queries_and_keys_are_taken_before_their_rotation(name):
    """In the first layer, where no attention has passed, a model without rotation has the same ones."""
    rotating = random_model(FAMILIES[name], attn_implementation="eager")
    for found, expected in zip(impacts(rotating, "qk"), impacts(traced(name)[0], "qk"), strict=True):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_probe_knows_causal_models_and_heads_that_come_first(name):
    """Decoders are causal, encoders are not; norms over heads may see them before or after the tokens."""
    model, family = model_of(name), FAMILIES[name]
    for kind in family.types:
        projections, causal = probe(model, find_projections(model, kind))
        assert causal == family.causal
        first = family.heads_first and kind in ("q", "k", "k_repeated")
        assert [p.heads_first for p in projections] == [first] * LAYERS


@pytest.mark.parametrize("name", ["Phi-norms", "StableLM-norms", "Gemma3", "Qwen3", "Cohere"])
@pytest.mark.parametrize("heads", [7, 11])
def test_heads_as_many_as_the_probe_has_tokens_are_told_apart(name, heads):
    """Seven heads of seven tokens would look alike either way round."""
    sizes = {"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": heads * SIZE, "head_dim": SIZE}
    model = random_model(FAMILIES[name], changes=sizes)
    projections, _ = probe(model, find_projections(model, "q"))
    assert {p.heads_first for p in projections} == {FAMILIES[name].heads_first}


@pytest.mark.parametrize("kind", ["up", "down", "gate"])
@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_experts_is_refused_clearly(name, kind):
    """No single projection sees every token there: the message says so and names an alternative."""
    with pytest.raises(UnsupportedBackboneError, match=rf"mixture of experts has no single {kind} .*dense"):
        find_projections(random_model(MIXTURES[name]), kind)


@pytest.mark.parametrize("name", MIXTURES)
def test_attention_of_a_mixture_of_experts_is_supported(name):
    """Every token passes its projections."""
    model, widths = random_model(MIXTURES[name]), {}
    for kind in ("q", "k", "v", "o", "k_repeated", "v_repeated"):
        projections, causal = probe(model, find_projections(model, kind))
        assert causal
        (widths[kind],) = {p.width for p in projections}
    heads = {kind: widths[kind] / widths["k"] * MIXTURES[name].kv for kind in ("q", "v", "k_repeated", "v_repeated")}
    assert heads == {"q": HEADS, "v": MIXTURES[name].kv, "k_repeated": HEADS, "v_repeated": HEADS}
    assert widths["o"] == families.HIDDEN


REFUSED = {
    "T5Config": ({"d_model": 32, "d_kv": 8, "d_ff": 44, "num_layers": 3, "num_heads": 4}, "encoder-decoder"),
    "BartConfig": (
        {"d_model": 32, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 44, "decoder_ffn_dim": 44},
        "encoder-decoder",
    ),
    "MambaConfig": ({"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4}, "MambaModel.*found"),
    "AlbertConfig": (families.DENSE, "AlbertModel: no list of 3 transformer blocks"),
    "FalconConfig": (families.BASE | {"multi_query": True}, "FalconModel.*known layout"),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("config", REFUSED)
def test_other_architectures_are_refused_in_one_line(config, kind):
    """Encoder-decoders, models without transformer blocks, shared blocks, unknown layouts of fused matrices."""
    options, reason = REFUSED[config]
    model = random_model(families.Family(config, options | {"vocab_size": 60}))
    if config == "FalconConfig" and kind in ("up", "down", "o"):
        assert len(find_projections(model, kind)) == LAYERS
        return
    reason = "no gate" if (config, kind) == ("FalconConfig", "gate") else reason
    with pytest.raises(UnsupportedBackboneError, match=reason) as caught:
        find_projections(model, kind)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_known_projection_is_refused():
    """The message names the block and the paths that were tried."""
    model = random_model(FAMILIES["Llama"])
    for block in model.layers:
        block.mlp = torch.nn.Identity()
    with pytest.raises(UnsupportedBackboneError, match=r"layers\.0.*mlp\.up_proj"):
        find_projections(model)


def test_an_unknown_neuron_type_is_refused():
    """The message names the known types."""
    with pytest.raises(UnsupportedBackboneError, match=r"'nope'.*up"):
        find_projections(model_of("Llama"), "nope")


def test_the_text_model_of_a_model_of_images_is_used():
    """Blocks of the image model are not, although there are as many."""
    text = transformers.LlamaConfig(**families.WIDE)
    vision = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=44, num_hidden_layers=3, num_attention_heads=4
    )
    model = transformers.AutoModel.from_config(transformers.LlavaConfig(text_config=text, vision_config=vision)).eval()
    for kind in ("up", "k_repeated", "o"):
        projections, causal = probe(model, find_projections(model, kind))
        assert causal
        assert [p.module for p in projections] == [p.module for p in find_projections(model.language_model, kind)]
