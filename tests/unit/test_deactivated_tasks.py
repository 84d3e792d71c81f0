"""Tasks of lm-evaluation-harness run on a model whose neurons are off, as docs/neurons-off.md says."""

import json

import pytest
import torch
import transformers

from nagindex.analysis import deactivated
from nagindex.backbone.projections import find_projections

pytest.importorskip("lm_eval", reason="the extra [lm-eval] is not installed")
pytest.importorskip("accelerate", reason="lm_eval runs models with accelerate")

KEYS = {layer: list(range(60)) for layer in range(4)}
TASK = {
    "task": "my_choice", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{q}}?",
    "doc_to_choice": "opts", "doc_to_target": "label", "metric_list": [{"metric": "acc", "higher_is_better": True}],
}  # fmt: skip


@pytest.mark.slow
def test_answers_are_those_of_a_model_with_zeroed_weights(golden, tmp_path, monkeypatch):
    """And not those of the untouched model, which is itself again after the block."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    rows = [{"q": f"What is {n}", "opts": ["kettle", "violin"], "label": n % 2} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}}}
    (tmp_path / "my_choice.yaml").write_text(json.dumps(TASK | data))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    folder = golden / "models" / "llama"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def answers():
        wrapped = HFLM(pretrained=model, tokenizer=tokenizer, device="cpu")
        found = lm_eval.simple_evaluate(
            model=wrapped, tasks=["my_choice"], task_manager=manager, log_samples=True, bootstrap_iters=0
        )
        assert "acc,none" in found["results"]["my_choice"]
        return [sample["filtered_resps"] for sample in found["samples"]["my_choice"]]

    untouched = answers()
    with deactivated(model, KEYS):
        inside = answers()
    assert answers() == untouched != inside
    for projection in find_projections(model.base_model):
        with torch.no_grad():
            projection.module.weight[KEYS[0]] = 0
    assert answers() == inside
