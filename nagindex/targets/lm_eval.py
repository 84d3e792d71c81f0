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
from nagindex.targets.templates import Candidate, ExampleSet, draw

ROLES = {"train": "training", "validation": "validation", "test": "test"}
"""The splits that a task itself tells apart, in the order of preference, and what the harness calls them."""


@dataclass(frozen=True)
class Preset:
    """A target set of the paper (arXiv 2604.15706).

    Attributes:
        tasks: the harness's tasks or groups that make it up.
        split: the split that examples are from.
        examples: how many there are.
        limit: how many are drawn, where the split has more.
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
    """The tasks of an installed lm_eval, which takes some seconds to list them all.

    Raises:
        MissingDependencyError: lm_eval is not installed.
    """

    def __init__(self, include_path: str | Path | None = None) -> None:
        with _calm(), _told("lm_eval cannot list its tasks", "install it anew: pip install 'nagindex[lm-eval]'"):
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
        """Return the examples of tasks, or of all tasks of groups and tags, as one set: each question with its right answer.

        Args:
            tasks: the harness's names.
            name: the set's name; by default the first task's.
            split: train, validation or test as the task assigns them, or any split of its dataset; by default the first of these
                three that there is.
            limit: examples at most; see `draw`.
            seed: of the drawing.

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

        with _calm():
            found = draw(name or tasks[0], rows(), _candidate, where=where, limit=limit, seed=seed)
        return dataclasses.replace(found, splits=splits)

    def preset(self, name: str, *, seed: int = 0) -> ExampleSet:
        """Return a target set of the paper; a number of examples other than the paper's is a warning."""
        preset = PRESETS[name]
        found = self.examples(*preset.tasks, name=name, split=preset.split, limit=preset.limit, seed=seed)
        if len(found.examples) == preset.examples:
            return found
        warning = f"{name} has {len(found.examples):,} examples here, {preset.examples:,} in the paper"
        return dataclasses.replace(found, warning=warning)

    def _load(self, name: str) -> list[Any]:
        """Return a task, or the tasks of a group or tag."""
        if name not in self.manager.all_tasks:
            close = difflib.get_close_matches(name, self.manager.all_tasks, 3)
            remedy = f"close names are {', '.join(close)}" if close else "`lm_eval ls tasks` lists them all"
            raise BadInputError(f"no task, group or tag {name!r} in lm_eval or --include-path; {remedy}")
        with _calm(), _told(f"task {name} cannot be loaded", "its dataset must be on disk or the hub in reach"):
            if hasattr(self.manager, "load"):
                return list(self.manager.load([name])["tasks"].values())
            return list(_leaves(self.manager.load_task_or_group([name])))  # older versions have no load


def _leaves(found: dict[Any, Any]) -> Iterator[Any]:
    for value in found.values():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield value


def _name(task: Any) -> str:
    return str(getattr(task.config, "task", None) or type(task).__name__)


def _splits(task: Any) -> list[str]:
    """Return the splits that examples can be from: those that the task assigns, then the other ones of its dataset."""
    dataset = getattr(task, "dataset", None)
    assigned = [split for split, role in ROLES.items() if getattr(task, f"has_{role}_docs")()]
    return list(dict.fromkeys([*assigned, *(dataset if isinstance(dataset, Mapping) else ())]))


def _first_split(task: Any) -> str:
    found = _splits(task)
    return next((split for split in ROLES if split in found), found[0] if found else "train")


def _docs(task: Any, split: str) -> Iterable[Any]:
    """Return a task's rows of a split, prepared as the task says."""
    found = _splits(task)
    if split not in found:
        raise BadInputError(f"task {_name(task)}: no split {split!r}; its splits are {', '.join(found) or 'none'}")
    with _told(f"task {_name(task)}, split {split} cannot be prepared", f"other splits are {', '.join(found)}"):
        role = ROLES.get(split)
        if role and getattr(task, f"has_{role}_docs")():
            docs: Iterable[Any] = getattr(task, f"{role}_docs")()
            return docs
        prepare = getattr(task.config, "process_docs", None) or (lambda docs: docs)
        prepared: Iterable[Any] = prepare(task.dataset[split])
        return prepared


def _candidate(row: tuple[Any, str, int, Any]) -> Candidate:
    task, split, number, doc = row
    where = f"task {_name(task)}, {split} row {number}"
    with _told(f"{where} cannot be made a text", "--split names another split"):
        text, problem = _text(task, doc)
    return Candidate(where, f"{_name(task)}:{split}:{number}", text, problem)


def _text(task: Any, doc: Any) -> tuple[str, str | None]:
    """Return a question with its right answer as the harness joins them for a shot, and what is wrong, or None."""
    question, answer = task.doc_to_text(doc), task.doc_to_target(doc)
    choices = task.doc_to_choice(doc) if getattr(task.config, "doc_to_choice", None) is not None else None
    if isinstance(question, int):  # as in Winogrande: the choices are beginnings, the target is how all of them go on
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
    return _joined(_joined(question, delimiter, prefix or ""), " " if prefix else delimiter, str(answer)), None


def _joined(left: str, delimiter: str, right: str) -> str:
    """Return two texts with a delimiter between them, unless that would be a second space."""
    if not left or not right or (delimiter == " " and (left[-1].isspace() or right[0].isspace())):
        delimiter = ""
    return left + delimiter + right


@contextmanager
def _told(what: str, remedy: str) -> Iterator[None]:
    """Make any failure of foreign code (task definitions, the hub, the data) one line."""
    try:
        yield
    except (BadInputError, MissingDependencyError):
        raise
    except Exception as error:
        raise BadInputError(f"{what} ({_reason(error)}); {remedy}") from error


def _reason(error: BaseException) -> str:
    """Return an error with what it came from, which says more where datasets could not be read."""
    message = f"{type(error).__name__}: {textwrap.shorten(str(error), 200)}"
    return f"{message}; from {_reason(error.__cause__)}" if error.__cause__ else message


@contextmanager
def _calm() -> Iterator[None]:
    """Keep the harness's prints out of stdout, and its remarks about metrics to itself."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(before)
