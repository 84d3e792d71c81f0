"""The dtype that is chosen where none is named: bf16 where the device computes in it, and that of an index that exists."""

import json
import platform

import pytest
import torch

from nagindex import build
from nagindex.backbone import devices
from nagindex.backbone.devices import cpu_computes_bf16, default_dtype
from nagindex.backbone.load import load_backbone

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Return f(flags, bf16=..., fp32=...): the processor has these features, and takes these seconds for a product of matrices."""

    def is_one(flags, *, bf16=1.0, fp32=2.0):
        monkeypatch.setattr(devices, "_cpu_flags", lambda: set(flags.split()))
        monkeypatch.setattr(devices, "_matrix_seconds", lambda dtype: {"bfloat16": bf16, "float32": fp32}[dtype])
        cpu_computes_bf16.cache_clear()

    yield is_one
    cpu_computes_bf16.cache_clear()


@pytest.mark.parametrize("flags", ["fpu avx512_bf16 sse", "amx_tile amx_bf16", "fp asimd bf16 i8mm"])
def test_a_processor_that_computes_in_bf16_encodes_in_it(processor, flags):
    """AVX512_BF16, AMX and ARM's, by the name that the system gives them."""
    processor(flags)
    assert default_dtype(CPU) == "bfloat16"


@pytest.mark.parametrize("flags", ["", "fpu avx512f avx2 fma", "fp asimd i8mm", "avx512_fp16"])
def test_a_processor_without_the_instructions_encodes_in_fp32(processor, flags):
    """However fast a product of bf16 matrices seems to be: nothing is measured."""
    processor(flags, bf16=0.0)
    assert default_dtype(CPU) == "float32"


@pytest.mark.parametrize("bf16", [2.0, 3.0])
def test_a_product_that_is_no_faster_in_bf16_rules_it_out(processor, bf16):
    """The processor has the instructions, and torch does not use them."""
    processor("avx512_bf16", bf16=bf16)
    assert default_dtype(CPU) == "float32"


def test_other_devices_encode_in_bf16(processor):
    """Whatever the processor is."""
    processor("")
    assert default_dtype(torch.device("cuda")) == default_dtype(torch.device("meta")) == "bfloat16"


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu amx_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n", {"fpu", "amx_bf16"}),
        ("BogoMIPS\t: 50\nFeatures\t: fp bf16\n", {"fp", "bf16"}),
        ("vendor_id\t: unknown\n", set()),
        (None, set()),
    ],
)
def test_features_are_those_that_linux_lists(monkeypatch, tmp_path, content, flags):
    """On x86 and ARM; none on a system that lists nothing."""
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(devices, "Path", lambda path: tmp_path / "cpuinfo")
    assert devices._cpu_flags() - {"flags", "Features", ":"} == flags


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux lists a processor's features")
def test_the_measurement_takes_time_on_this_processor():
    """Both dtypes are multiplied for real."""
    assert devices._cpu_flags()
    assert min(devices._matrix_seconds(dtype) for dtype in ("bfloat16", "float32")) > 0


def test_auto_is_the_dtype_of_an_index_that_exists(processor, golden, tmp_path):
    """A build that was begun on one processor goes on, and is appended to and queried, on another; another dtype has to be asked for."""
    model = str(golden / "models" / "llama")
    corpora = [tmp_path / f"{number}.jsonl" for number in range(2)]
    for number, corpus in enumerate(corpora):
        corpus.write_text("".join(json.dumps({"id": f"{number}-{i}", "text": f"the cat {i}"}) + "\n" for i in range(5)))
    processor("avx512_bf16")
    assert load_backbone(model, device="cpu").model.dtype == torch.bfloat16
    first, _ = build(corpora[0], tmp_path / "bf16", model=model, device="cpu", impact="relative")
    assert first.manifest.fingerprint.dtype == "bfloat16"
    processor("")
    again, report = build(
        corpora, tmp_path / "bf16", model=model, device="cpu", impact="relative", corpus_root=tmp_path
    )
    assert again.manifest.fingerprint == first.manifest.fingerprint
    assert report.documents == 5
    (tmp_path / "t.jsonl").write_text('{"text": "the cat 3"}\n')
    assert again.query(tmp_path / "t.jsonl", n=1).column("score").tolist() == [1.0]
    other, _ = build(corpora[0], tmp_path / "fp32", model=model, device="cpu", impact="relative")
    assert other.manifest.fingerprint.dtype == "float32"
