"""Target sets from benchmarks: tasks of EleutherAI's lm-evaluation-harness, and the six sets of the paper."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nagindex.errors import BadInputError, MissingDependencyError
from nagindex.targets.templates import DraftExample, ExampleSet, draw

ROLES = {"train": "training", "validation": "validation", "test": "test"}
"""The splits that a task defines, in order of preference, with the names of the harness's methods for them."""

EVALUATED_AT_ONCE = 8
"""Requests in a batch of an evaluation."""


@dataclass(frozen=True)
class Preset:
    """A target set of the paper (arXiv 2604.15706).

    Attributes:
        tasks: tasks or groups of the harness.
        split: the split of the examples.
        examples: number of examples in the paper.
        limit: number of examples drawn, where the split has more.
    """

    tasks: tuple[str, ...]
    split: str
    examples: int
    limit: int | None = None


PRESETS = {
    "arc_challenge": Preset(("arc_challenge",), "train", 1_119),
    "hellaswag": Preset(("hellaswag",), "train", 10_000, limit=10_000),
    "triviaqa": Preset(("triviaqa",), "train", 10_000, limit=10_000),
    "mmlu": Preset(("mmlu",), "validation", 1_531),
    # Inferred from the number: the train split of one language has 360.
    "xstorycloze": Preset(("xstorycloze_en",), "train", 360),
    # Inferred from the number: all languages but English, 83 + 959 + 263 + 315 + 504.
    "xwinograd": Preset(
        ("xwinograd_fr", "xwinograd_jp", "xwinograd_pt", "xwinograd_ru", "xwinograd_zh"), "test", 2_124
    ),
}


class Harness:
    """The tasks of the installed lm_eval; listing them takes some seconds.

    Args:
        include_path: a folder of further task definitions.

    Raises:
        MissingDependencyError: lm_eval is not installed.
    """

    def __init__(self, include_path: str | Path | None = None) -> None:
        with (
            _quiet(),
            _one_line_errors("lm_eval cannot list its tasks", "install it anew: pip install 'nagindex[lm-eval]'"),
        ):
            try:
                from lm_eval.tasks import TaskManager
            except ImportError as error:
                raise MissingDependencyError(
                    f"tasks are read by lm_eval ({error}); run: pip install 'nagindex[lm-eval]'"
                ) from error
            import datasets

            if not sys.stderr.isatty():
                datasets.disable_progress_bars()
            self.manager = TaskManager(include_path=str(include_path) if include_path is not None else None)

    def examples(
        self, *tasks: str, name: str | None = None, split: str | None = None, limit: int | None = None, seed: int = 0
    ) -> ExampleSet:
        """Return one set of the examples of tasks, groups or tags: each question with its right answer.

        Args:
            tasks: names of tasks, groups or tags.
            name: the set's name; by default the first task's.
            split: train, validation or test as the task defines them, or any split of its dataset; by default the first
                of these three that the task has.
            limit: largest number of examples; see `draw`.
            seed: of the random choice.

        Raises:
            BadInputError: a task or split does not exist, cannot be loaded, or has no example.
        """
        loaded = [task for each in tasks for task in self._load(each)]
        chosen = [(task, split or _first_split(task)) for task in loaded]
        splits = tuple(dict.fromkeys(which for _, which in chosen))
        where = f"{', '.join(tasks)}, split {' and '.join(splits)}"

        def rows() -> Iterator[tuple[Any, str, int, Any]]:
            for task, which in chosen:
                for row, doc in enumerate(_docs(task, which)):
                    yield task, which, row, doc

        with _quiet():
            drawn = draw(name or tasks[0], rows(), _draft_example, where=where, limit=limit, seed=seed)
        return dataclasses.replace(drawn, splits=splits)

    def preset(self, name: str, *, seed: int = 0) -> ExampleSet:
        """Return a target set of the paper, with a warning if its number of examples is not the paper's."""
        preset = PRESETS[name]
        examples = self.examples(*preset.tasks, name=name, split=preset.split, limit=preset.limit, seed=seed)
        if len(examples.examples) == preset.examples:
            return examples
        warning = f"{name} has {len(examples.examples):,} examples here, {preset.examples:,} in the paper"
        return dataclasses.replace(examples, warning=warning)

    def require(self, *tasks: str) -> None:
        """Raise BadInputError unless tasks, groups or tags exist and can be loaded."""
        for each in tasks:
            self._load(each)

    def evaluate(
        self, model: Any, tokenizer: Any, *tasks: str, limit: int | None = None
    ) -> dict[str, dict[str, float]]:
        """Return the scores of a loaded model: by task, or group, each metric's value, without standard errors.

        Args:
            model: a causal language model of transformers.
            tokenizer: its tokenizer.
            tasks: names of tasks, groups or tags.
            limit: number of questions of each task, its first ones; by default all.

        Raises:
            BadInputError: the evaluation fails.
        """
        failed = f"{', '.join(tasks)} cannot be evaluated"
        with _quiet(), _one_line_errors(failed, "try one with lm_eval itself, and give others"):
            import lm_eval
            from lm_eval.models.huggingface import HFLM

            wrapped = HFLM(
                pretrained=model, tokenizer=tokenizer, device=str(model.device), batch_size=EVALUATED_AT_ONCE
            )
            found = lm_eval.simple_evaluate(
                model=wrapped, tasks=[*tasks], task_manager=self.manager, limit=limit, bootstrap_iters=0
            )
        return {
            task: {
                name.removesuffix(",none"): float(value)
                for name, value in own.items()
                if "," in name and "_stderr" not in name and isinstance(value, (int, float))
            }
            for task, own in found["results"].items()
        }

    def _load(self, name: str) -> list[Any]:
        """Return a task, or the tasks of a group or tag."""
        if name not in self.manager.all_tasks:
            close = difflib.get_close_matches(name, self.manager.all_tasks, 3)
            remedy = f"close names are {', '.join(close)}" if close else "`lm_eval ls tasks` lists them all"
            raise BadInputError(f"no task, group or tag {name!r} in lm_eval or `include_path`; {remedy}")
        with (
            _quiet(),
            _one_line_errors(f"task {name} cannot be loaded", "its dataset must be on disk or the hub in reach"),
        ):
            if hasattr(self.manager, "load"):
                return list(self.manager.load([name])["tasks"].values())
            return list(_tasks_in(self.manager.load_task_or_group([name])))  # older versions have no load


def _tasks_in(group: dict[Any, Any]) -> Iterator[Any]:
    """Yield the tasks of a group and of the groups in it."""
    for value in group.values():
        if isinstance(value, dict):
            yield from _tasks_in(value)
        else:
            yield value


def _name(task: Any) -> str:
    return str(getattr(task.config, "task", None) or type(task).__name__)


def _splits(task: Any) -> list[str]:
    """Return the splits of a task: those that it defines, then the other ones of its dataset."""
    dataset = getattr(task, "dataset", None)
    defined = [split for split, role in ROLES.items() if getattr(task, f"has_{role}_docs")()]
    return list(dict.fromkeys([*defined, *(dataset if isinstance(dataset, Mapping) else ())]))


def _first_split(task: Any) -> str:
    splits = _splits(task)
    return next((split for split in ROLES if split in splits), splits[0] if splits else "train")


def _docs(task: Any, split: str) -> Iterable[Any]:
    """Return the rows of a split, preprocessed as the task defines."""
    splits = _splits(task)
    if split not in splits:
        raise BadInputError(f"task {_name(task)}: no split {split!r}; its splits are {', '.join(splits) or 'none'}")
    with _one_line_errors(
        f"task {_name(task)}, split {split} cannot be prepared", f"other splits are {', '.join(splits)}"
    ):
        role = ROLES.get(split)
        if role and getattr(task, f"has_{role}_docs")():
            docs: Iterable[Any] = getattr(task, f"{role}_docs")()
            return docs
        prepare = getattr(task.config, "process_docs", None) or (lambda docs: docs)
        prepared: Iterable[Any] = prepare(task.dataset[split])
        return prepared


def _draft_example(row: tuple[Any, str, int, Any]) -> DraftExample:
    task, split, number, doc = row
    where = f"task {_name(task)}, {split} row {number}"
    with _one_line_errors(f"{where} cannot be made a text", "`split` names another split"):
        text, problem = _text(task, doc)
    return DraftExample(where, f"{_name(task)}:{split}:{number}", text, problem)


def _text(task: Any, doc: Any) -> tuple[str, str | None]:
    """Return (a question with its right answer, joined as in a few-shot prompt; the problem or None)."""
    question, answer = task.doc_to_text(doc), task.doc_to_target(doc)
    choices = task.doc_to_choice(doc) if getattr(task.config, "doc_to_choice", None) is not None else None
    if isinstance(
        question, int
    ):  # as in Winogrande: the choices are beginnings, the target is their common continuation
        if choices is None or not 0 <= question < len(choices):
            return "", f"no right answer ({question} is none of the choices)"
        question = choices[question]
    else:
        if isinstance(answer, (list, tuple)):  # several right answers
            answer = next(iter(answer), None)
        if choices is not None and isinstance(answer, int) and 0 <= answer < len(choices):
            answer = choices[answer]
        elif choices is not None and answer not in choices:
            return "", f"no right answer ({answer!r} is none of the choices)"
        if answer is None or answer == "":
            return "", "no right answer"
    prefix = task.doc_to_prefix(doc) if getattr(task.config, "gen_prefix", None) else ""
    delimiter = getattr(task.config, "target_delimiter", " ")
    return _join(_join(question, delimiter, prefix or ""), " " if prefix else delimiter, str(answer)), None


def _join(left: str, delimiter: str, right: str) -> str:
    """Join two texts with a delimiter; none is added next to an empty text, nor a space next to whitespace."""
    if not left or not right or (delimiter == " " and (left[-1].isspace() or right[0].isspace())):
        delimiter = ""
    return left + delimiter + right


@contextmanager
def _one_line_errors(problem: str, remedy: str) -> Iterator[None]:
    """Turn any error of foreign code (task definitions, the hub, the data) into a BadInputError of one line."""
    try:
        yield
    except (BadInputError, MissingDependencyError):
        raise
    except Exception as error:
        raise BadInputError(f"{problem} ({_error_chain(error)}); {remedy}") from error


def _error_chain(error: BaseException) -> str:
    """Return an error with its causes, which say more than it does where a dataset cannot be read."""
    message = f"{type(error).__name__}: {textwrap.shorten(str(error), 200)}"
    return f"{message}; from {_error_chain(error.__cause__)}" if error.__cause__ else message


@contextmanager
def _quiet() -> Iterator[None]:
    """Redirect what the harness prints to stderr, and suppress its warnings about metrics."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(before)
