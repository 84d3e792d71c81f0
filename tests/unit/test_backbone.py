"""Backbones: the up projection of every family is found and tapped, and taps leave nothing behind."""

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from nagindex.backbone import find_projections, load_backbone, tap_model, tapped
from nagindex.errors import BadInputError, InputNotFoundError, UnsupportedBackboneError

HIDDEN, WIDTH, LAYERS = 16, 40, 3
SMALL = {
    "vocab_size": 60,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GATED = SMALL | {"intermediate_size": WIDTH, "num_key_value_heads": 2}
FAMILIES = {
    "Qwen3": lambda: transformers.Qwen3Config(**GATED, head_dim=8),
    "Llama": lambda: transformers.LlamaConfig(**GATED),
    "SmolLM3": lambda: transformers.SmolLM3Config(**GATED),
    "Mistral": lambda: transformers.MistralConfig(**GATED),
    "Gemma": lambda: transformers.GemmaConfig(**GATED, head_dim=8),
    "Phi3": lambda: transformers.Phi3Config(**GATED),
    "GPTNeoX": lambda: transformers.GPTNeoXConfig(**SMALL, intermediate_size=WIDTH),
    "GPT2": lambda: transformers.GPT2Config(vocab_size=60, n_embd=HIDDEN, n_layer=LAYERS, n_head=2, n_inner=WIDTH),
    "Bert": lambda: transformers.BertConfig(**SMALL, intermediate_size=WIDTH),
}
INPUTS = {"Llama": "mlp.up_proj", "Qwen3": "mlp.up_proj", "SmolLM3": "mlp.up_proj", "Mistral": "mlp.up_proj", "Gemma": "mlp.up_proj",
          "Phi3": "mlp.gate_up_proj", "GPTNeoX": "mlp.dense_h_to_4h", "GPT2": "mlp.c_fc", "Bert": "intermediate.dense"}  # fmt: skip
IDS = torch.tensor([[5, 9, 30, 7, 7], [3, 4, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])


class _Tokenizer:
    """Enough of a tokenizer for a fingerprint."""

    pad_token_id = 0

    def get_vocab(self):
        return {"a": 0}


def random_model(config):
    torch.manual_seed(11)
    return transformers.AutoModel.from_config(config).eval()


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A random model of each family, wrapped as a backbone."""
    return request.param, tap_model(request.param, random_model(FAMILIES[request.param]()), _Tokenizer())


def _blocks(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == LAYERS)


def _weights_of_up(name, module):
    """Return the weight [width, hidden] and bias of a projection's up part."""
    if name == "GPT2":
        return module.weight.T, module.bias
    if name == "Phi3":
        return module.weight[WIDTH:], None
    return module.weight, module.bias


def test_the_up_projection_of_every_layer_is_found(family):
    """Every family's up projection is found in every layer, with its own width."""
    name, backbone = family
    assert backbone.widths == (WIDTH,) * LAYERS
    for block, projection in zip(_blocks(backbone.model), backbone.projections, strict=True):
        assert projection.module is block.get_submodule(INPUTS[name])
    assert backbone.fingerprint().spec.widths == (WIDTH,) * LAYERS


def test_impacts_are_the_mean_magnitude_over_real_tokens(family):
    """Impacts equal mean over unpadded tokens of |x W + b|, computed by hand from the projection's own input."""
    name, backbone = family
    inputs = []
    handles = [
        p.module.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach().clone()))
        for p in backbone.projections
    ]
    found = backbone.impacts(IDS, MASK)
    for handle in handles:
        handle.remove()
    for layer, (x, projection) in enumerate(zip(inputs, backbone.projections, strict=True)):
        weight, bias = _weights_of_up(name, projection.module)
        values = functional.linear(x.double(), weight.double(), None if bias is None else bias.double()).abs()
        by_hand = torch.stack([values[0].mean(0), values[1, :2].mean(0)])
        np.testing.assert_allclose(found[layer].numpy(), by_hand.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_padding_does_not_change_impacts(family):
    """A text alone and the same text padded in a batch have the same impacts, up to rounding."""
    _, backbone = family
    batch = backbone.impacts(IDS, MASK)
    alone = backbone.impacts(IDS[1:, :2], MASK[1:, :2])
    for padded, short in zip(batch, alone, strict=True):
        np.testing.assert_allclose(padded[1:].numpy(), short.numpy(), rtol=1e-5, atol=1e-7)


def test_phi3_taps_the_up_half_and_not_the_gate():
    """Of Phi-3's fused matrix the second half multiplies the activated first: that second half is tapped."""
    backbone = tap_model("Phi3", random_model(FAMILIES["Phi3"]()), _Tokenizer())
    mlp, seen = _blocks(backbone.model)[0].mlp, {}
    mlp.register_forward_hook(lambda module, args, output: seen.update(x=args[0].detach(), y=output.detach()))
    impacts = backbone.impacts(IDS[:1], MASK[:1])[0]
    gate, up = (functional.linear(seen["x"], half) for half in mlp.gate_up_proj.weight.chunk(2))
    np.testing.assert_allclose(mlp.down_proj(up * mlp.activation_fn(gate)).detach(), seen["y"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(impacts[0], up.abs().mean(1)[0].detach(), rtol=1e-5, atol=1e-7)
    assert not np.allclose(impacts[0], gate.abs().mean(1)[0].detach(), rtol=1e-2)


EXPERTS = {
    "Mixtral": lambda: transformers.MixtralConfig(**GATED, num_local_experts=4),
    "Qwen3Moe": lambda: transformers.Qwen3MoeConfig(
        **GATED, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8
    ),
    "Qwen2Moe": lambda: transformers.Qwen2MoeConfig(
        **GATED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=8
    ),
}


@pytest.mark.parametrize("name", EXPERTS)
def test_a_mixture_of_experts_is_refused_clearly(name):
    """No single projection sees every token there: the message says so and what to use instead."""
    with pytest.raises(UnsupportedBackboneError, match=r"mixture of experts.*dense"):
        find_projections(random_model(EXPERTS[name]()))


def test_a_model_without_a_known_projection_is_refused():
    """The message names the block and what was looked for."""
    model = random_model(FAMILIES["Llama"]())
    for block in model.layers:
        block.mlp = torch.nn.Identity()
    with pytest.raises(UnsupportedBackboneError, match=r"layers\.0.*mlp\.up_proj"):
        find_projections(model)


def test_an_unknown_neuron_type_is_refused():
    """The message names the types there are."""
    with pytest.raises(UnsupportedBackboneError, match=r"'nope'.*up"):
        find_projections(random_model(FAMILIES["Llama"]()), "nope")


def _hooks(backbone):
    return sum(len(p.module._forward_hooks) for p in backbone.projections)


def test_taps_are_removed_after_a_pass(tiny_backbone):
    """A pass leaves no hook on the model."""
    tiny_backbone.impacts(torch.tensor([[5, 6]]), torch.tensor([[1, 1]]))
    assert _hooks(tiny_backbone) == 0


def test_taps_are_removed_after_an_exception(tiny_backbone):
    """Whatever happens inside the block, no hook stays behind."""

    def fail(layer, output):
        assert _hooks(tiny_backbone) == len(tiny_backbone.projections)
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), tapped(tiny_backbone.projections, fail):
        tiny_backbone.model(input_ids=torch.tensor([[5, 6]]))
    assert _hooks(tiny_backbone) == 0
    with pytest.raises(IndexError):
        tiny_backbone.impacts(torch.tensor([[10**6]]), torch.tensor([[1]]))
    assert _hooks(tiny_backbone) == 0


def test_taps_are_removed_when_setting_one_fails(tiny_backbone):
    """A projection that takes no hook leaves none on those before it."""
    broken = (*tiny_backbone.projections, object())
    with pytest.raises(AttributeError), tapped(broken, lambda layer, output: None):
        pass
    assert _hooks(tiny_backbone) == 0


def test_the_fingerprint_knows_the_weights(golden, tiny_backbone):
    """Loading the same folder twice gives one fingerprint; one changed weight, or another tokenizer, gives another."""
    again = load_backbone(str(golden / "models" / "qwen3"), device="cpu", dtype="float32")
    assert again.fingerprint() == tiny_backbone.fingerprint()
    with torch.no_grad():
        again.projections[0].module.weight[0, 0] += 1
    changed = tap_model(again.name, again.model, again.tokenizer)
    assert changed.weights != tiny_backbone.weights
    assert changed.tokenizer_hash == tiny_backbone.tokenizer_hash
    other = load_backbone(str(golden / "models" / "llama"), device="cpu", dtype="float32")
    assert other.tokenizer_hash != tiny_backbone.tokenizer_hash


def test_tokenising_does_not_change_the_tokenizers_hash(tiny_backbone):
    """Truncation or padding left switched on by a call is no part of the tokenizer."""
    tiny_backbone.tokenizer(["a b c", "d"], padding=True, truncation=True, max_length=2)
    again = tap_model(tiny_backbone.name, tiny_backbone.model, tiny_backbone.tokenizer)
    assert again.tokenizer_hash == tiny_backbone.tokenizer_hash


@pytest.mark.parametrize("options", [{"max_length": 0}, {"max_length": 10**7}, {"top_k": 0}])
def test_settings_that_make_no_sense_are_refused(tiny_backbone, options):
    """A length that is not positive or beyond the model's positions, and a K below 1, name the remedy."""
    with pytest.raises(BadInputError, match=r"--max-length|--top-k"):
        tiny_backbone.fingerprint(**options)


def test_top_k_is_clipped_to_the_width(tiny_backbone):
    """A K above the layer's width keeps all its neurons."""
    assert tiny_backbone.fingerprint(top_k=10**6).spec.top_k == 256


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    """The message names the model and the remedy, in one line."""
    for name in (str(tmp_path), "no-such-org/no-such-model"):
        with pytest.raises(InputNotFoundError, match="--model") as caught:
            load_backbone(name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_without_all_weights_is_refused(golden, tmp_path):
    """Random values in the place of missing weights would make NAGs of noise."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(golden / "models" / "qwen3", tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    gone = next(name for name in tensors if "up_proj" in name)
    save_file({k: v.contiguous().clone() for k, v in tensors.items() if k != gone}, path, metadata={"format": "pt"})
    with pytest.raises(UnsupportedBackboneError, match="lacks weights"):
        load_backbone(str(tmp_path / "m"), device="cpu")
