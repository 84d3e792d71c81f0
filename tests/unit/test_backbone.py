"""Backbones: loaded safely, identified by name and hashes, and read by hooks that leave no trace and do no needless work."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES, LAYERS, WIDTH, random_model

from nagindex.backbone.devices import default_dtype
from nagindex.backbone.hooks import hooked, impacts_of, probe, token_sums
from nagindex.backbone.load import load_backbone, wrap_model
from nagindex.backbone.projections import find_projections
from nagindex.errors import BadInputError, InputNotFoundError, UnsupportedBackboneError

IDS, MASK = torch.tensor([[5, 9, 30, 7, 7], [3, 4, 0, 0, 0]]), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])


class _Tokenizer:
    """Enough of a tokenizer for a fingerprint."""

    pad_token_id = 0

    def get_vocab(self):
        return {"a": 0}


@pytest.fixture
def model_folder(golden, tmp_path):
    """A folder with a tiny model that a test may change."""
    return shutil.copytree(golden / "models" / "qwen3", tmp_path / "m")


# Hooks --------------------------------------------------------------------------------------------------------------


def _counted(modules):
    """Return a list that grows with every pass through one of the modules."""
    passed = []
    for module in modules:
        module.register_forward_hook(lambda m, args, output: passed.append(m))
    return passed


def _hooks(backbone):
    return sum(len(m._forward_hooks) for m in backbone.model.modules())


def test_nothing_runs_after_the_last_hook():
    """Neither the rest of the last block, nor the final norm; a language-model head is not even loaded."""
    model = random_model(FAMILIES["Llama"])
    last = model.layers[-1]
    later = _counted([model.norm, last, last.mlp, last.mlp.act_fn, last.mlp.down_proj, last.mlp.up_proj])
    impacts_of(model, find_projections(model, "q"), IDS, MASK, causal=True)
    assert not later
    impacts_of(model, find_projections(model, "up"), IDS, MASK, causal=True)
    assert later == [last.mlp.act_fn, last.mlp.up_proj]


def test_one_pass_serves_several_types():
    """The model is called once, and only the requested projections have hooks meanwhile."""
    model = random_model(FAMILIES["Llama"])
    called, with_hooks = [], []
    model.register_forward_pre_hook(lambda m, args: called.append(m))
    model.layers[0].register_forward_pre_hook(
        lambda m, args: with_hooks.extend(name for name, part in model.named_modules() if part._forward_hooks)
    )
    kinds = ("up", "k", "k_repeated")
    impacts_of(model, [p for kind in kinds for p in find_projections(model, kind)], IDS, MASK, causal=True)
    assert len(called) == 1
    names = [f"layers.{n}.{path}" for n in range(LAYERS) for path in ("self_attn.k_proj", "mlp.up_proj")]
    assert sorted(with_hooks) == sorted(names)


def test_hooks_are_removed_whatever_happens(tiny_backbone):
    """After a pass, after an exception inside the block or the model, and when registering one fails."""
    tiny_backbone.impacts(torch.tensor([[5, 6]]), torch.tensor([[1, 1]]))
    assert _hooks(tiny_backbone) == 0

    def fail(layer, output):
        assert _hooks(tiny_backbone) == len(tiny_backbone.projections)
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), hooked(tiny_backbone.projections, fail):
        tiny_backbone.model(input_ids=torch.tensor([[5, 6]]))
    assert _hooks(tiny_backbone) == 0
    with pytest.raises(IndexError):
        tiny_backbone.impacts(torch.tensor([[10**6]]), torch.tensor([[1]]))
    assert _hooks(tiny_backbone) == 0
    with pytest.raises(AttributeError), hooked((*tiny_backbone.projections, object()), fail):
        pass
    assert _hooks(tiny_backbone) == 0


def test_a_projection_that_tokens_do_not_pass_once_is_refused():
    """A block that runs twice, or never, has no impact that could be defined."""
    model = random_model(FAMILIES["Llama"])
    up = model.layers[1].mlp.up_proj
    model.layers[2].mlp.up_proj = up
    with pytest.raises(UnsupportedBackboneError, match="2 times instead of once"):
        probe(model, find_projections(model, "up"))
    model = random_model(FAMILIES["Llama"])
    model.layers[1].forward = lambda hidden_states, *args, **kwargs: hidden_states
    with pytest.raises(UnsupportedBackboneError, match="0 times instead of once"):
        probe(model, find_projections(model, "up"))


def test_an_output_of_another_width_is_refused():
    """Columns are not selected from an output whose width differs from the module's."""
    model = random_model(FAMILIES["Qwen3"])
    wrong = FAMILIES["Qwen3"].options | {"head_dim": 4}
    model.config = transformers.Qwen3Config(**wrong)
    for kind in ("q", "k", "k_repeated"):
        with pytest.raises(UnsupportedBackboneError, match=r"gives \[2, 7, .* for 2 texts of 7 tokens"):
            probe(model, find_projections(model, kind))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("columns", [slice(3, 9), (11, 2, 2, 7)])
@pytest.mark.parametrize("shape", [(3, 700, 12), (3, 700, 4, 3), (3, 4, 700, 3)])
def test_sums_over_tokens_are_exact_to_float32(shape, columns, dtype, fused):
    """Whatever the output's type and layout, sums of magnitudes leave out padding and are accumulated in float32."""
    output = (torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 9).to(dtype)
    by_token = output.transpose(1, 2) if shape[1] == 4 else output
    lengths = torch.tensor([700, 123, 1])
    real = torch.arange(700) < lengths[:, None]
    exact = (by_token.double().abs().flatten(2) * real[..., None]).sum(1)
    exact = exact[:, columns if isinstance(columns, slice) else list(columns)]
    found = token_sums(by_token, columns, (~real).nonzero(as_tuple=True), fused=fused)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=1e-6)


# Identity and settings ----------------------------------------------------------------------------------------------


def test_another_type_is_a_view_of_the_same_model():
    """Its weights and tokenizer are the same, its projections and fingerprint are not."""
    backbone = wrap_model("Llama", random_model(FAMILIES["Llama"]), _Tokenizer())
    other = backbone.of_type("k_repeated")
    assert backbone.of_type("up") is backbone
    assert other.model is backbone.model
    assert (other.weights_hash, other.causal, other.neuron_type) == (backbone.weights_hash, True, "k_repeated")
    assert (backbone.widths, other.widths) == ((WIDTH,) * LAYERS, (24,) * LAYERS)
    assert other.fingerprint().spec.widths == (24,) * LAYERS
    for found, expected in zip(other.impacts(IDS, MASK), other.impacts(IDS[:, :5], MASK), strict=True):
        assert torch.equal(found, expected)


def test_the_fingerprint_knows_the_weights(golden, tiny_backbone):
    """Loading the same folder twice gives one fingerprint; one changed weight, or another tokenizer, gives another."""
    again = load_backbone(str(golden / "models" / "qwen3"), device="cpu", dtype="float32")
    assert again.fingerprint() == tiny_backbone.fingerprint()
    with torch.no_grad():
        again.projections[0].module.weight[0, 0] += 1
    changed = wrap_model(again.name, again.model, again.tokenizer)
    assert changed.weights_hash != tiny_backbone.weights_hash
    assert changed.tokenizer_hash == tiny_backbone.tokenizer_hash
    other = load_backbone(str(golden / "models" / "llama"), device="cpu", dtype="float32")
    assert other.tokenizer_hash != tiny_backbone.tokenizer_hash


def test_tokenizing_does_not_change_the_tokenizers_hash(tiny_backbone):
    """Truncation or padding left switched on by a call is no part of the tokenizer."""
    tiny_backbone.tokenizer(["a b c", "d"], padding=True, truncation=True, max_length=2)
    again = wrap_model(tiny_backbone.name, tiny_backbone.model, tiny_backbone.tokenizer)
    assert again.tokenizer_hash == tiny_backbone.tokenizer_hash


@pytest.mark.parametrize("options", [{"max_length": 0}, {"max_length": 10**7}, {"top_k": 0}])
def test_settings_that_make_no_sense_are_refused(tiny_backbone, options):
    """A length that is not positive or beyond the model's positions, and a K below 1, name the parameter."""
    with pytest.raises(BadInputError, match=rf"give another `{next(iter(options))}`"):
        tiny_backbone.fingerprint(**options)


@pytest.mark.parametrize(("name", "states", "reads"), [("RoBERTa", 514, 512), ("XLM-R", 514, 512), ("BERT", 512, 512)])
def test_the_limit_of_positions_is_what_the_model_can_run(name, states, reads):
    """RoBERTa counts positions from behind its padding index, so two of those it states are no use."""
    model = random_model(FAMILIES[name], changes={"max_position_embeddings": states})
    backbone = wrap_model(name, model, _Tokenizer())
    assert backbone.fingerprint(max_length=reads).max_length == reads
    backbone.impacts(torch.full((1, reads), 5), torch.ones(1, reads, dtype=int))
    with pytest.raises(BadInputError, match=f"1 to {reads} tokens"):
        backbone.fingerprint(max_length=reads + 1)
    with pytest.raises((IndexError, RuntimeError)):
        backbone.impacts(torch.full((1, reads + 1), 5), torch.ones(1, reads + 1, dtype=int))


def test_top_k_is_clipped_to_the_width(tiny_backbone):
    """A K above the layer's width keeps all its neurons."""
    assert tiny_backbone.fingerprint(top_k=10**6).spec.top_k == 256


# Loading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "known"), [("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32"), ("auto", "")]
)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_dtype_and_attention_are_as_requested(golden, dtype, known, attention):
    """Both reach the model and the fingerprint."""
    folder, known = str(golden / "models" / "llama"), known or default_dtype(torch.device("cpu"))
    backbone = load_backbone(folder, device="cpu", dtype=dtype, attention=attention)
    assert backbone.model.dtype == getattr(torch, known)
    assert backbone.model.config._attn_implementation == attention
    fingerprint = backbone.fingerprint()
    assert (fingerprint.dtype, fingerprint.attention) == (known, attention)


@pytest.mark.parametrize(("name", "options"), [("org/m@abc", {}), ("org/m", {"revision": "abc"}), ("org/m", {})])
def test_a_pinned_revision_is_part_of_the_name(golden, monkeypatch, name, options):
    """Model and tokenizer come from it, and code that comes with them is not trusted by default."""
    requested = []
    for kind in (transformers.AutoTokenizer, transformers.AutoModel):

        def load(place, real=kind.from_pretrained, **given):
            requested.append((place, given.get("revision"), given["trust_remote_code"]))
            return real(str(golden / "models" / "llama"), **given | {"revision": "main"})

        monkeypatch.setattr(kind, "from_pretrained", load)
    pinned = "abc" if "@" in name or options else None
    assert load_backbone(name, device="cpu", **options).name == ("org/m@abc" if pinned else "org/m")
    assert requested == [("org/m", pinned, False)] * 2
    load_backbone(name, device="cpu", trust_remote_code=True, **options)
    assert requested[2:] == [("org/m", pinned, True)] * 2


def test_code_that_comes_with_a_model_does_not_run(model_folder):
    """The message names the parameter that would allow it."""
    config = json.loads((model_folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (model_folder / "own.py").write_text(f"open({str(model_folder / 'ran')!r}, 'w')\nraise SystemExit\n")
    (model_folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    with pytest.raises(InputNotFoundError, match="`trust_remote_code=True`") as caught:
        load_backbone(str(model_folder), device="cpu")
    assert "\n" not in str(caught.value)
    assert not (model_folder / "ran").exists()
    (model_folder / "config.json").write_text(json.dumps(config | {"auto_map": own}))  # a model that is known as well
    assert load_backbone(str(model_folder), device="cpu").widths == (256,) * 4
    assert not (model_folder / "ran").exists()


class _Pickled:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickled_weights_are_refused_and_never_read(model_folder):
    """Reading them could run any code; the message names the supported format."""
    (model_folder / "model.safetensors").unlink()
    (model_folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Pickled(model_folder / "ran")))
    with pytest.raises(InputNotFoundError, match="safetensors weights") as caught:
        load_backbone(str(model_folder), device="cpu")
    assert "\n" not in str(caught.value)
    assert not (model_folder / "ran").exists()


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    """The message names the model and the remedy, in one line: no folder, an empty one, and a hub name while offline."""
    for name in (str(tmp_path), str(tmp_path / "none"), "no-such-org/no-such-model", "no-such-org/m@abc"):
        with pytest.raises(InputNotFoundError, match="`model`") as caught:
            load_backbone(name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_without_all_weights_is_refused(model_folder):
    """Random values in the place of missing weights would make NAGs of noise."""
    from safetensors.torch import load_file, save_file

    path = model_folder / "model.safetensors"
    tensors = load_file(path)
    gone = next(name for name in tensors if "up_proj" in name)
    save_file({k: v.contiguous().clone() for k, v in tensors.items() if k != gone}, path, metadata={"format": "pt"})
    with pytest.raises(UnsupportedBackboneError, match="lacks weights"):
        load_backbone(str(model_folder), device="cpu")
