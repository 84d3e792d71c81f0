"""Tiny random models of many families, and what really happens in one, read off its tensor operations alone."""

import warnings
from dataclasses import dataclass, field
from unittest import mock

import pytest
import torch
import transformers
from torch.overrides import TorchFunctionMode

from nagindex.backbone.projections import NEURON_TYPES, REPEATED

TYPES = (*NEURON_TYPES, *REPEATED)
LAYERS, HEADS, SIZE, HIDDEN, WIDTH = 3, 4, 8, 32, 44
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BASE = {"vocab_size": 60, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_size": HIDDEN} | SPECIAL
DENSE = BASE | {"intermediate_size": WIDTH}
FEW = DENSE | {"num_key_value_heads": 2}  # fewer key and value heads than query heads
WIDE = FEW | {"head_dim": 6}  # heads that are not hidden size / heads wide
GPT = {"vocab_size": 60, "n_layer": LAYERS, "n_head": HEADS, "n_embd": HIDDEN, "n_inner": WIDTH} | SPECIAL
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}


@dataclass(frozen=True)
class Family:
    """A family's tiny configuration, and what its architecture is known for.

    Attributes:
        config: name of the configuration's class in transformers.
        options: its arguments.
        gated: whether the MLP multiplies an activated projection with a second one.
        causal: whether no token is influenced by those after it.
        kv: key and value heads.
        heads_first: whether q and k are normed as [batch, heads, tokens, d].
        scales_q: whether attention gets queries that are already divided by the root of their size.
    """

    config: str
    options: dict = field(default_factory=lambda: FEW)
    gated: bool = True
    causal: bool = True
    kv: int = 2
    heads_first: bool = False
    scales_q: bool = False

    @property
    def types(self):
        """Every neuron type that the family has."""
        return [kind for kind in TYPES if self.gated or kind != "gate"]


def plain(config, options=DENSE, **known):
    """Return a family without a gate and with as many key as query heads."""
    return Family(config, options, **{"gated": False, "kv": HEADS} | known)


FAMILIES = {
    "Llama": Family("LlamaConfig", WIDE),
    "Qwen2": Family("Qwen2Config"),
    "Qwen3": Family("Qwen3Config", WIDE),
    "SmolLM3": Family("SmolLM3Config", FEW | {"no_rope_layer_interval": 2}),
    "Mistral": Family("MistralConfig", WIDE | {"sliding_window": 4}),
    "Gemma": Family("GemmaConfig", WIDE),
    "Gemma2": Family("Gemma2Config", WIDE | {"sliding_window": 4}),
    "Gemma3": Family("Gemma3TextConfig", WIDE | {"sliding_window": 4}, heads_first=True),
    "OLMo": Family("OlmoConfig"),
    "OLMo2": Family("Olmo2Config"),
    "Granite": Family("GraniteConfig"),
    "Cohere": Family("CohereConfig", FEW | {"use_qk_norm": True}),
    "Cohere2": Family("Cohere2Config", FEW | {"sliding_window": 4}),
    "StableLM": Family("StableLmConfig"),
    "StableLM-norms": Family("StableLmConfig", FEW | {"qk_layernorm": True}, heads_first=True),
    "Phi3": Family("Phi3Config"),
    "GLM": Family("GlmConfig", WIDE | {"attention_bias": True}),
    "GLM4": Family("Glm4Config", WIDE),
    "Nemotron": plain("NemotronConfig", WIDE | {"head_dim": SIZE}, kv=2),
    "StarCoder2": plain("Starcoder2Config", FEW, kv=2),
    "Phi": plain("PhiConfig", FEW, kv=2),
    "Phi-norms": plain("PhiConfig", DENSE | {"qk_layernorm": True}, heads_first=True),
    "OPT": plain("OPTConfig", BASE | {"ffn_dim": WIDTH, "word_embed_proj_dim": HIDDEN}, scales_q=True),
    "GPT2": plain("GPT2Config", GPT),
    "GPTNeo": plain(
        "GPTNeoConfig",
        {"vocab_size": 60, "num_layers": LAYERS, "num_heads": HEADS, "hidden_size": HIDDEN, "intermediate_size": WIDTH}
        | {"attention_types": [[["global"], 1], [["local", "global"], 1]], "window_size": 4},
    ),
    "GPTJ": plain("GPTJConfig", GPT | {"rotary_dim": 4}),
    "GPTNeoX": plain("GPTNeoXConfig"),
    "BLOOM": plain("BloomConfig", BASE),
    "Falcon": plain("FalconConfig", BASE | {"multi_query": False, "ffn_hidden_size": WIDTH}),
    "MPT": plain("MptConfig", {"vocab_size": 60, "n_layers": LAYERS, "n_heads": HEADS, "d_model": HIDDEN}),
    "BERT": plain("BertConfig", causal=False),
    "RoBERTa": plain("RobertaConfig", DENSE | {"pad_token_id": 1, "bos_token_id": 0}, causal=False),
    "XLM-R": plain("XLMRobertaConfig", DENSE | {"pad_token_id": 1, "bos_token_id": 0}, causal=False),
    "MPNet": plain("MPNetConfig", DENSE | {"pad_token_id": 1, "bos_token_id": 0}, causal=False),
    "ELECTRA": plain("ElectraConfig", DENSE | {"embedding_size": 12}, causal=False),
    "DistilBERT": plain(
        "DistilBertConfig",
        {"vocab_size": 60, "n_layers": LAYERS, "n_heads": HEADS, "dim": HIDDEN, "hidden_dim": WIDTH, "pad_token_id": 0},
        causal=False,
        scales_q=transformers.__version__ < "5",
    ),
    "ModernBERT": plain(
        "ModernBertConfig",
        DENSE | {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 4},
        gated=True,
        causal=False,
    ),
}
MIXTURES = {
    "Mixtral": Family("MixtralConfig", FEW | {"num_local_experts": 4}),
    "Qwen3Moe": Family("Qwen3MoeConfig", WIDE | EXPERTS | {"moe_intermediate_size": 8}),
    "Qwen2Moe": Family(
        "Qwen2MoeConfig", FEW | EXPERTS | {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}
    ),
    "OLMoE": Family("OlmoeConfig", FEW | EXPERTS),
    "GPT-OSS": Family("GptOssConfig", WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


def random_model(family, *, changes=None, **attention):
    """Return a family's model with every parameter drawn at random, norms and biases too, so that none can be missed."""
    if not hasattr(transformers, family.config):
        pytest.skip(f"transformers {transformers.__version__} has no {family.config}")
    unset = mock.patch.object(transformers.PreTrainedModel, "init_weights", return_value=None)
    with unset, warnings.catch_warnings(category=FutureWarning, action="ignore"):  # transformers 4.56, about itself
        config = getattr(transformers, family.config)(**family.options | (changes or {}))
        model = transformers.AutoModel.from_config(config, **attention).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            mean, spread = (0.5, 0.3) if parameter.ndim == 1 else (0.0, 0.15)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + mean)
    return model.requires_grad_(False)


class Trace(TorchFunctionMode):
    """What eager attention multiplies and what activations see in one pass over one text, whatever modules are called.

    Attributes:
        seen: neuron type -> each layer's values [tokens, neurons], before RoPE if that is `still`. A gated MLP has its `up`
            from the input of `down`, the product of up and the activated gate. k and v are the heads that differ.
    """

    PRODUCTS = ("matmul", "__matmul__", "bmm", "baddbmm")

    def __init__(self):
        super().__init__()
        self.seen = {name: [] for name in ("up", "gate", "down", "q", "k_repeated", "v_repeated", "o")}
        self.activation, self.attended = None, False

    @classmethod
    def of(cls, family, model, ids):
        """Return what is seen in a family's model that reads one text of int64 [tokens] ids."""
        trace = cls()
        activations = [m for name, m in model.named_modules() if "act" in name[name.rfind(".") :] or "gelu" in name]
        handles = [m.register_forward_hook(trace._activated) for m in activations]
        with torch.inference_mode(), trace:
            model(input_ids=ids[None])
        for handle in handles:
            handle.remove()
        for name in ("k", "v"):
            heads = [x.unflatten(1, (HEADS, -1)) for x in trace.seen[f"{name}_repeated"]]
            trace.seen[name] = [x[:, :: HEADS // family.kv].flatten(1) for x in heads]
        return trace.seen

    def _activated(self, module, args, output):
        self.activation = args[0], output

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name, operands = getattr(func, "__name__", ""), [*args, *(kwargs or {}).values()]
        if name in self.PRODUCTS:
            left, right = operands[-2:] if name != "baddbmm" else operands[1:3]
            if right.ndim == 2:
                self._projected(left, result)  # Falcon multiplies its weights itself
            elif left.shape[:-2].numel() == right.shape[:-2].numel() == HEADS:
                self._multiplied(left, right)
        elif name in ("linear", "addmm"):
            self._projected(operands[1 if name == "addmm" else 0], result)
        return result

    def _multiplied(self, left, right):
        if len(self.seen["q"]) > len(self.seen["v_repeated"]):  # after queries with keys come their weights with values
            self.seen["v_repeated"].append(_by_token(right))
            self.attended = True
        else:
            self.seen["q"].append(_by_token(left))
            self.seen["k_repeated"].append(_by_token(right.mT))

    def _projected(self, into, result):
        if self.attended:
            self.seen["o"].append(_tokens(result))
            self.attended = False
        elif self.activation is not None and into.shape[-1] == self.activation[0].shape[-1]:
            before, after = (_tokens(x) for x in self.activation)
            gated = not torch.equal(_tokens(into), after)
            self.seen["up"].append(_tokens(into) / after if gated else before)
            if gated:
                self.seen["gate"].append(before)
            self.seen["down"].append(_tokens(result))
            self.activation = None


def _tokens(x):
    return x.detach().clone().reshape(-1, x.shape[-1])


def _by_token(x):
    return x.detach().clone().reshape(HEADS, *x.shape[-2:]).transpose(0, 1).flatten(1)


def still(model):
    """Make a model's rotary embeddings rotate nothing, so that attention multiplies q and k as they were before."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2].startswith("rotary_emb"):
            module.register_forward_hook(lambda m, args, found: (torch.ones_like(found[0]), torch.zeros_like(found[1])))
        if isinstance(getattr(module, "embed_positions", None), torch.Tensor):  # GPT-J: sines, then cosines
            sines, cosines = module.embed_positions.chunk(2, dim=-1)
            sines.zero_()
            cosines.fill_(1)
    return model
