"""Tasks of lm-evaluation-harness run on a model whose neurons are off, as docs/neurons-off.md says."""

import json
from functools import partial

import pytest
import torch
import transformers

pytest.importorskip("accelerate", reason="lm_eval runs models with accelerate")

import lm_eval.tasks

from nagindex.analysis import NeuronChoice, deactivated, evaluate_deactivation_tasks
from nagindex.backbone.projections import find_projections
from nagindex.errors import BadInputError

KEYS = {layer: list(range(60)) for layer in range(4)}
TASK = {
    "task": "my_choice", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{q}}?",
    "doc_to_choice": "opts", "doc_to_target": "label", "metric_list": [{"metric": "acc", "higher_is_better": True}],
}  # fmt: skip


def write_task(folder):
    """Write a task of six questions, and its data, into a folder."""
    rows = [{"q": f"What is {n}", "opts": ["kettle", "violin"], "label": n % 2} for n in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    (folder / "my_choice.yaml").write_text(json.dumps(TASK | data))


@pytest.mark.slow
def test_answers_are_those_of_a_model_with_zeroed_weights(golden, tmp_path, monkeypatch):
    """And not those of the untouched model, which is itself again after the block."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    write_task(tmp_path)
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


@pytest.mark.slow
def test_scores_of_tasks_are_those_of_each_choice_and_draw(golden, tmp_path, monkeypatch):
    """Of the untouched model, of the choice and of the random neurons; unknown tasks are named before a model is loaded."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))
    write_task(tmp_path)
    given = {"include_path": tmp_path, "model": str(golden / "models" / "llama"), "device": "cpu", "dtype": "fp32"}
    found = evaluate_deactivation_tasks({"mine": NeuronChoice(KEYS)}, ["my_choice"], random=2, **given)
    assert [(arm.name, arm.neurons, len(arm.draws)) for arm in found.arms] == [("untouched", 0, 0), ("mine", 240, 2)]
    for arm in found.arms:
        assert all(0 <= score["my_choice"]["acc"] <= 1 for score in (arm.value, *arm.draws))
        assert list(arm.value["my_choice"]) == ["acc"]
    row = json.loads(json.dumps(found.to_json()))["rows"][1]
    drawn = [draw["my_choice"]["acc"] for draw in found.arms[1].draws]
    assert row["random"]["my_choice"]["acc"]["mean"] == pytest.approx(sum(drawn) / 2)
    with pytest.raises(BadInputError, match="no task, group or tag 'my_choise'"):
        evaluate_deactivation_tasks({"mine": NeuronChoice(KEYS)}, ["my_choise"], **given | {"model": "/nowhere"})
    with pytest.raises(BadInputError, match="no task; name at least one"):
        evaluate_deactivation_tasks({"mine": NeuronChoice(KEYS)}, [], **given)
