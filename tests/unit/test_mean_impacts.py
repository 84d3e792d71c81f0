"""Mean impacts over a sample, and the divisors that relative impact is made with."""

import dataclasses

import numpy as np
import pytest
import torch
from corpora import texts_of

from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError
from nagindex.nag import FLOOR, impact_divisors


def test_divisors_are_the_means_and_a_floor_of_the_layers_average():
    """Padding beyond a layer's width counts for nothing; a layer without any impact is divided by one."""
    means = np.array([[1, 3, 0, 99], [0, 0, 0, 0], [2, 2, 2, 2]], np.float32)
    first, silent, same = impact_divisors(means, [3, 2, 4])
    floor = FLOOR * np.float32(4 / 3)
    np.testing.assert_allclose(first, [1 + floor, 3 + floor, floor], rtol=1e-6)
    assert silent.tolist() == [1, 1]
    np.testing.assert_allclose(same, [2.2] * 4, rtol=1e-6)
    assert {part.dtype for part in (first, silent, same)} == {np.dtype(np.float32)}


def test_means_do_not_depend_on_the_room_in_memory(tiny_backbone, monkeypatch):
    """Batches are halved when memory runs out; only a text that does not fit alone is an error."""
    ids = tokenize(tiny_backbone.tokenizer, texts_of(3, 30), max_length=120, count=False).ids
    [expected] = mean_impacts([tiny_backbone], ids, batch_tokens=4096)
    passes = []

    class Scarce:
        room = 200

        def __getattr__(self, name):
            return getattr(tiny_backbone.model, name)

        def __call__(self, *, input_ids, **options):
            passes.append(input_ids.numel())
            if input_ids.numel() > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return tiny_backbone.model(input_ids=input_ids, **options)

    monkeypatch.setattr("nagindex.encode.calibrate.CpuWorkers.of", lambda backbones: None)
    small = dataclasses.replace(tiny_backbone, model=Scarce())
    [found] = mean_impacts([small], ids, batch_tokens=4096)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert max(passes) > Scarce.room >= passes[-1]
    Scarce.room = max(map(len, ids)) - 1
    with pytest.raises(torch.OutOfMemoryError):
        mean_impacts([small], ids, batch_tokens=4096)


def test_impacts_that_are_not_finite_are_no_calibration(tiny_backbone, monkeypatch):
    """The message names the model, its dtype and the remedy."""
    real = torch.Tensor.sum
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "sum", lambda self, *a, **k: real(self, *a, **k) * torch.inf)
        with pytest.raises(BadInputError, match=r'not finite; use `dtype="fp32"`'):
            mean_impacts([tiny_backbone], [[5, 6, 7]], batch_tokens=100)
