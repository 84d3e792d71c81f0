"""Examples of the harness's tasks are its questions with their right answers; the paper's presets name what lm_eval has."""

import json
import sys
from functools import partial
from pathlib import Path

import datasets
import lm_eval.tasks
import pytest

from nagindex.errors import BadInputError, MissingDependencyError
from nagindex.targets.lm_eval import PRESETS, Harness

ROWS = [
    {"q": "What sings", "a": "violin", "opts": ["kettle", "violin"], "label": 1, "many": ["a violin", "fiddles"]},
    {"q": "What boils", "a": "kettle", "opts": ["kettle", "violin"], "label": 0, "many": ["a kettle"]},
    {"q": "What hides", "a": "", "opts": ["kettle", "violin"], "label": -1, "many": []},
]
BLANKS = [
    {"sentence": "It rains on the _ until noon.", "option1": "garden", "option2": "kettle", "answer": "1"},
    {"sentence": "Bread comes from the _.", "option1": "river", "option2": "oven", "answer": "2"},
    {"sentence": "The captain sings to the _", "option1": "lantern", "option2": "kettle", "answer": "2"},
]
CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "opts", "doc_to_target": "label"}
ASKED = "Question: {{q}}?\nAnswer:"
TASKS = {
    "generate": {"output_type": "generate_until", "doc_to_text": ASKED, "doc_to_target": "{{a}}", "tag": "my_tag"},
    "several": {"output_type": "generate_until", "doc_to_text": ASKED, "doc_to_target": "many"},
    "number": {"output_type": "generate_until", "doc_to_text": ASKED, "doc_to_target": "label"},
    "choice": CHOICE | {"doc_to_text": ASKED, "tag": "my_tag"},
    "choice_by_template": CHOICE
    | {"doc_to_text": "{{q}}?", "doc_to_choice": "{{opts}}", "doc_to_target": "{{label}}", "target_delimiter": "\n\n"},
    "choice_by_text": CHOICE | {"doc_to_text": "{{q}}?", "doc_to_target": "a"},
    "letters": CHOICE | {"doc_to_text": "{{q}}\nA. {{opts[0]}}\nB. {{opts[1]}}\nAnswer:", "doc_to_choice": ["A", "B"]},
    "prefixed": CHOICE | {"doc_to_text": "{{q}}?\n", "gen_prefix": "The answer is"},
    "spaced": {"output_type": "loglikelihood", "doc_to_text": "{{q}}?", "doc_to_target": " {{a}}"},
    "whole": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}} {{a}}"},
    "mistyped": {"output_type": "generate_until", "doc_to_text": "{{q}}", "doc_to_target": "{{missing.part}}"},
}
EXPECTED = {
    "generate": ["Question: What sings?\nAnswer: violin", "Question: What boils?\nAnswer: kettle"],
    "several": ["Question: What sings?\nAnswer: a violin", "Question: What boils?\nAnswer: a kettle"],
    "number": ["Question: What sings?\nAnswer: 1", "Question: What boils?\nAnswer: 0"],
    "choice": ["Question: What sings?\nAnswer: violin", "Question: What boils?\nAnswer: kettle"],
    "choice_by_template": ["What sings?\n\nviolin", "What boils?\n\nkettle"],
    "choice_by_text": ["What sings? violin", "What boils? kettle"],
    "letters": [
        "What sings\nA. kettle\nB. violin\nAnswer: B",
        "What boils\nA. kettle\nB. violin\nAnswer: A",
    ],
    "prefixed": ["What sings?\nThe answer is violin", "What boils?\nThe answer is kettle"],
    "spaced": ["What sings? violin", "What boils? kettle"],
    "whole": ["What sings violin", "What boils kettle"],
}
WINOGRANDE = """
print("a task's own print")

def begin(doc):
    return int(doc["answer"]) - 1

def beginnings(doc):
    return [doc["sentence"].split("_")[0] + doc[option] for option in ("option1", "option2")]

def rest(doc):
    return doc["sentence"].split("_")[1].strip()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of tasks on local data: one for each entry of TASKS, a winogrande-like one, a group, a tag, one out of reach."""
    made = tmp_path_factory.mktemp("tasks")
    (made / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (made / "blanks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in BLANKS))
    for name, task in TASKS.items():
        data = {split: str(made / "rows.jsonl") for split in ("train", "dev", "held_out")}
        splits = {"dataset_path": "json", "dataset_kwargs": {"data_files": data}, "test_split": "held_out"}
        (made / f"{name}.yaml").write_text(json.dumps({"task": name, **splits, **task}))
    (made / "my_code.py").write_text(WINOGRANDE)
    (made / "blanks.yaml").write_text(
        f"""{{task: blanks, dataset_path: json, dataset_kwargs: {{data_files: {{test: "{made}/blanks.jsonl"}}}},
        output_type: multiple_choice, test_split: test, doc_to_text: !function my_code.begin,
        doc_to_choice: !function my_code.beginnings, doc_to_target: !function my_code.rest}}"""
    )
    (made / "group.yaml").write_text(json.dumps({"group": "my_group", "task": ["letters", "blanks"]}))
    away = {
        "task": "away",
        "dataset_path": "nobody/nothing",
        "test_split": "test",
        "doc_to_text": "q",
        "doc_to_target": "a",
    }
    (made / "away.yaml").write_text(json.dumps(away | {"output_type": "generate_until"}))
    return made


@pytest.fixture
def alone(monkeypatch, tmp_path_factory):
    """Only the tests' own tasks are listed: lm_eval's 14,000 take it ten seconds and more. Data sets are cached apart."""
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


@pytest.fixture
def harness(alone, folder):
    """The tasks of the folder."""
    return Harness(folder)


def texts(made):
    return [text for _, text in made.examples]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_is_the_question_with_the_right_answer(harness, name):
    made = harness.examples(name)
    assert texts(made)[:2] == EXPECTED[name]
    assert (made.name, made.splits) == (name, ("train",))
    assert made.examples[1][0] == f"{name}:train:1"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("generate", "no right answer"),
        ("several", "no right answer"),
        ("choice", "no right answer (-1 is none of the choices)"),
        ("choice_by_template", "no right answer ('-1' is none of the choices)"),
    ],
)
def test_a_row_without_a_right_answer_is_skipped_and_listed(harness, name, reason):
    made = harness.examples(name)
    assert len(made.examples) == 2
    assert made.skipped == [f"task {name}, train row 2: {reason}"]


def test_a_blank_is_filled_with_the_right_choice_and_the_sentence_goes_on(harness, capsys):
    made = harness.examples("blanks")
    assert texts(made) == [
        "It rains on the garden until noon.",
        "Bread comes from the oven .",
        "The captain sings to the kettle",
    ]
    assert capsys.readouterr().out == ""


def test_a_group_or_tag_is_one_set_of_all_its_tasks(harness):
    group = harness.examples("my_group", split="test")
    assert group.name == "my_group"
    assert [i for i, _ in group.examples] == [
        "letters:test:0",
        "letters:test:1",
        *(f"blanks:test:{row}" for row in range(3)),
    ]
    tag = harness.examples("my_tag")
    assert [i for i, _ in tag.examples] == [f"{task}:train:{row}" for task in ("choice", "generate") for row in (0, 1)]
    both = harness.examples("letters", "blanks", name="both")
    assert (both.name, both.splits, len(both.examples)) == ("both", ("train", "test"), 5)


def test_a_split_is_one_that_the_task_assigns_or_one_of_its_dataset(harness):
    assert [i for i, _ in harness.examples("generate", split="test").examples] == ["generate:test:0", "generate:test:1"]
    assert len(harness.examples("generate", split="dev").examples) == 2
    with pytest.raises(BadInputError) as error:
        harness.examples("generate", split="validation")
    assert str(error.value) == "task generate: no split 'validation'; its splits are test, train, dev, held_out"


def test_a_limit_draws_from_all_tasks_of_a_set(harness):
    def chosen(seed):
        return [i for i, _ in harness.examples("my_tag", limit=2, seed=seed).examples]

    everything = [i for i, _ in harness.examples("my_tag").examples]
    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)) for seed in range(4)}) > 1
    assert all(chosen(seed) == sorted(chosen(seed), key=everything.index) for seed in range(4))


def test_an_unknown_task_gets_the_close_names(harness):
    with pytest.raises(
        BadInputError, match=r"^no task, group or tag 'chioce' in lm_eval or `include_path`; close names are choice"
    ):
        harness.examples("chioce")
    with pytest.raises(BadInputError, match="`lm_eval ls tasks` lists them all"):
        harness.examples("zzzzzz")


def test_a_dataset_out_of_reach_is_one_line_that_names_task_and_reason(harness):
    with pytest.raises(
        BadInputError, match=r"^task away cannot be loaded \(ConnectionError: Couldn't reach 'nobody/nothing'"
    ) as error:
        harness.examples("away")
    assert "\n" not in str(error.value)


def test_a_mistake_in_a_task_is_one_line_that_names_it(harness):
    with pytest.raises(
        BadInputError, match=r"^task mistyped cannot be loaded \(UndefinedError: 'missing' is undefined\)"
    ):
        harness.examples("mistyped")


def test_without_lm_eval_the_install_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(MissingDependencyError, match=r"run: pip install 'nagindex\[lm-eval\]'$"):
        Harness()


LANGUAGES = {"fr": 83, "jp": 959, "pt": 263, "ru": 315, "zh": 504}
HUB = {
    "allenai/ai2_arc": {
        "question": "Which sings?",
        "choices": {"text": ["kettle", "violin"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "Rowan/hellaswag": {
        "activity_label": "Baking",
        "ctx_a": "A loaf rises.",
        "ctx_b": "then it",
        "endings": ["is [title] baked.", "swims.", "sings.", "flies."],
        "label": "0",
    },
    "mandarjoshi/trivia_qa": {"question": "What sings", "answer": {"value": "Violin", "aliases": ["Violin", "Fiddle"]}},
    "cais/mmlu": {"question": " Which? ", "choices": ["w", "x", "y", "z"], "answer": 2},
    "juletxara/xstory_cloze": {f"input_sentence_{n}": f"S{n}." for n in range(1, 5)}
    | {"sentence_quiz1": "It ends.", "sentence_quiz2": "It sings.", "answer_right_ending": 1},
    "Muennighoff/xwinograd": {"sentence": "A _ sings.", "option1": "kettle", "option2": "violin", "answer": "2"},
}
FOLDERS = ("arc", "hellaswag", "triviaqa", "mmlu/default", "xstorycloze", "xwinograd")
TEXTS = {
    "arc_challenge": "Question: Which sings?\nAnswer: violin",
    "hellaswag": "Baking: A loaf rises. Then it is. baked.",
    "triviaqa": "Question: What sings?\nAnswer: Violin",
    "mmlu": "Which?\nA. w\nB. x\nC. y\nD. z\nAnswer: C",
    "xstorycloze": "S1. S2. S3. S4. It ends.",
    "xwinograd": "A violin sings.",
}


@pytest.fixture
def shipped(monkeypatch):
    """lm_eval's own definitions of the presets' tasks, on made-up rows with the columns and splits of the data sets."""

    def load_dataset(path, name=None, **_):
        splits = {"cais/mmlu": ("dev", "validation", "test"), "juletxara/xstory_cloze": ("train", "eval")}
        size = LANGUAGES[name] if path == "Muennighoff/xwinograd" else 2
        one = datasets.Dataset.from_list([HUB[path]] * size)
        return datasets.DatasetDict(dict.fromkeys(splits.get(path, ("train", "validation", "test")), one))

    home = Path(lm_eval.tasks.__file__).parent
    real = lm_eval.tasks.TaskManager
    include = [str(home / folder) for folder in FOLDERS]
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", lambda include_path: real(include_path=include, include_defaults=False)
    )
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return Harness()


SIZES = {"mmlu": 114, "xwinograd": 2124}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_lm_eval_defines_and_warns_of_another_number_than_the_paper_has(shipped, name):
    made = shipped.preset(name)
    assert (made.name, made.splits) == (name, (PRESETS[name].split,))
    assert set(texts(made)) == {TEXTS[name]}
    found = SIZES.get(name, 2)
    assert len(made.examples) == found
    expected = PRESETS[name].examples
    assert made.warning == (
        None if found == expected else f"{name} has {found:,} examples here, {expected:,} in the paper"
    )


def test_the_presets_have_the_papers_sizes():
    sizes = {name: preset.examples for name, preset in PRESETS.items()}
    assert list(sizes.values()) == [1_119, 10_000, 10_000, 1_531, 360, 2_124]
    assert sum(LANGUAGES.values()) == sizes["xwinograd"]


@pytest.mark.slow
def test_the_installed_lm_eval_has_every_task_of_the_presets():
    listed = Harness().manager.all_tasks
    assert {task for preset in PRESETS.values() for task in preset.tasks} <= set(listed)
