"""One index folder under any sequence of operations, rivals and deaths, against a dictionary of what each version holds.

CI runs, for each of SEEDS, EXAMPLES sequences of up to STEPS steps, some 2,500 altogether, of which most are several operations;
the slow tests run ten times as many. After each step the current version holds the model's documents in the model's order, code by
code, and an older version that somebody has pinned still answers as on the day it was opened.
"""

from __future__ import annotations

import os
import random
from itertools import count

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from machine import SETTINGS, SPEC, Append, Change, Dead, Disk, Reader, State
from questions import CONDITIONS, IDS, ask, drawn_corpus, living, unpublished

from nagindex.errors import BadInputError, InputNotFoundError, NagIndexError, SettingsMismatchError
from nagindex.index import Index
from nagindex.storage.manifest import versions

EXAMPLES, STEPS, SEEDS = 14, 50, range(4)
seeds = st.integers(0, 10**6)
OPERATIONS = ("append", "append", "delete", "where", "compact", "compact", "optimize")
operations = st.sampled_from(OPERATIONS)


class Pinned:
    """An index that was opened at some time, what it held then, and its codes as they were mapped."""

    def __init__(self, index, state):
        self.index, self.state, self.mapped = index, state, index.codes
        self.bytes = [codes.tobytes() for codes in self.mapped]


class Machine(RuleBasedStateMachine):
    """The operations of an index as rules; `disk`, `folders`, `steps` and `fingerprint` are of all runs."""

    disk = folders = steps = fingerprint = None

    def __init__(self):
        super().__init__()
        self.path = next(self.folders)
        self.reader, self.random = Reader(), random.Random(0)
        self.versions, self.pinned, self.corpora, self.numbers = {1: State()}, [], [], count(1)

    @property
    def current(self):
        return self.versions[max(self.versions)]

    @initialize(start=st.booleans(), of=seeds)
    def create(self, start, of):
        Index.create(self.path, self.fingerprint(SPEC), SETTINGS)
        if start:
            self._run(self._operation("append", of))

    # ---- what there is to do, drawn by a seed ----

    def _operation(self, name, of):
        """Return an operation on the index and what it means for the model."""
        dice = random.Random(of)
        if name == "append":
            corpus = drawn_corpus(dice, next(self.numbers))
            self.corpora.append(corpus)
            return Append(self.path, corpus)
        if name == "delete":
            ids = dice.sample(IDS, dice.choice((1, 2, 6)))
            return Change(lambda: Index.open(self.path).delete(ids=ids), lambda s: s.without(lambda row: row.id in ids))
        if name == "where":
            condition = dice.choice(list(CONDITIONS))
            gone = CONDITIONS[condition]
            return Change(lambda: Index.open(self.path).delete(where=condition), lambda s: s.without(gone))
        if name == "compact":
            return Change(lambda: Index.open(self.path).compact())
        refit = dice.random() < 0.2
        return Change(lambda: self._optimize(refit))

    def _optimize(self, refit):
        try:
            Index.open(self.path).optimize(refit=refit)
        except BadInputError as error:
            if "holds no document" not in str(error) or self.current.rows:
                raise

    def _settle(self, operation):
        """Write down what the versions hold that an operation has published; nothing else has happened to the folder."""
        if operation.forgets:
            self._forget()
        on_disk = versions(self.path)
        while max(self.versions) < on_disk[-1]:
            self.versions[max(self.versions) + 1] = operation.change(self.current)
        assert on_disk == sorted(self.versions)

    def _run(self, operation, between=()):
        """Run an operation to its end, others coming between its steps."""
        between = list(between)
        for _ in operation.steps():
            self._settle(operation)
            if between:
                self._run(between.pop())
        self._settle(operation)
        assert operation.is_in(self.current)

    # ---- rules ----

    @rule(of=seeds)
    def append(self, of):
        self._run(self._operation("append", of))

    @precondition(lambda self: self.corpora)
    @rule(of=seeds)
    def append_once_more(self, of):
        """What is in is in, deleted or not: the same command adds nothing, and completes what was killed."""
        self._run(Append(self.path, random.Random(of).choice(self.corpora)))

    @rule(name=st.sampled_from(OPERATIONS[2:]), of=seeds)
    def change(self, name, of):
        self._run(self._operation(name, of))

    @rule(of=seeds, names=st.lists(operations, min_size=1, max_size=2))
    def others_come_between_the_windows_of_an_append(self, of, names):
        rivals = [self._operation(name, of + 1 + n) for n, name in enumerate(names)]
        self._run(self._operation("append", of), rivals)

    @rule(of=seeds)
    def two_append_the_same_corpus(self, of):
        first = self._operation("append", of)
        self._run(first, [Append(self.path, first.corpus)])

    @rule(of=seeds, name=operations, rival=operations, at=st.integers(1, 2))
    def another_publishes_first(self, of, name, rival, at):
        """The number that a writer was about to publish is taken: it re-reads and applies its change to what there is now."""
        operation, other = self._operation(name, of), self._operation(rival, of + 1)
        left = [at]

        def overtaken():
            left[0] -= 1
            if left[0] == 0:
                self._settle(operation)
                self._run(other)

        self.disk.before_publication = overtaken
        try:
            self._run(operation)
        finally:
            self.disk.before_publication = lambda: None

    @rule(of=seeds, name=st.sampled_from(("append", "append", *OPERATIONS, "vacuum")), again=st.booleans())
    def a_writer_dies(self, of, name, again):
        """Somewhere; what it had written may be cut anywhere. The next one finds the old version or the new."""
        dice = random.Random(of)
        operation = self._vacuum(1) if name == "vacuum" else self._operation(name, of)
        before = set(self.path.rglob("*"))
        self.disk.kill(dice.randint(1, dice.choice((8, 30, 60))), after=dice.random() < 0.5)
        try:
            for _ in operation.steps():
                self._settle(operation)
        except Dead:
            pass
        finally:
            died = self.disk.revive()
        self._settle(operation)
        assert died or operation.is_in(self.current)
        for path in sorted(unpublished(self.path) - before):
            if path.stat().st_nlink == 1 and dice.random() < 0.5:  # a published manifest may have a second name still
                os.truncate(path, int(path.stat().st_size * dice.random()))
        assert list(Index.open(self.path).verify()) == []
        if again:
            self._run(Append(self.path, operation.corpus) if name == "append" else operation)

    @rule(keep=st.integers(1, 6))
    def vacuum(self, keep):
        """The newest versions stay, whoever reads older ones; no file stays that none of them names."""
        kept = sorted(self.versions)[-keep:]
        self._run(self._vacuum(keep))
        assert sorted(self.versions) == kept
        strays = {path for path in unpublished(self.path) if "derived" not in path.parts}
        assert strays == set()

    def _vacuum(self, keep):
        return Change(lambda: Index.open(self.path).vacuum(keep=keep, grace=0), forgets=True)

    def _forget(self):
        """Leave those versions out of the model that a vacuum has removed: never the newest, and none before an older one."""
        kept = [version for version in sorted(self.versions) if version in versions(self.path)]
        assert kept == sorted(self.versions)[-len(kept) :]
        self.versions = {version: self.versions[version] for version in kept}

    @rule(of=seeds)
    def query(self, of):
        ask(Index.open(self.path), self.current, random.Random(of))

    @rule(of=seeds)
    def query_by_the_engines(self, of):
        index = Index.open(self.path)
        for approx in (False, True):
            ask(index, self.current, random.Random(of), approx=approx)

    @rule(of=seeds)
    def pin(self, of):
        """Any version that is kept can be opened and holds what it always did."""
        version = random.Random(of).choice(sorted(self.versions))
        index, state = Index.open(self.path, version=version), self.versions[version]
        assert len(index) == len(state.rows)
        assert index.manifest.tokens == sum(row.tokens for row in state.rows)
        assert living(index) == [(row.id, row.label, row.tokens, row.codes) for row in state.rows]
        self.pinned = [*self.pinned[-4:], Pinned(index, state)]

    @precondition(lambda self: self.pinned)
    @rule(of=seeds)
    def refresh(self, of):
        pinned = random.Random(of).choice(self.pinned)
        pinned.index.refresh()
        pinned.__init__(pinned.index, self.current)

    @rule()
    def open_what_is_not_there(self):
        """A version that is gone, and an index with other settings, are refused by name."""
        with pytest.raises(InputNotFoundError, match=f"versions kept are .*{max(self.versions)}"):
            Index.open(self.path, version=max(self.versions) + 1)
        if any(entry.documents for entry in Index.open(self.path).manifest.segments):
            with pytest.raises(SettingsMismatchError, match="max_length"):
                Index.create(self.path, self.fingerprint(SPEC, max_length=7), SETTINGS)
            again = Index.create(self.path, self.fingerprint(SPEC), SETTINGS)
            assert again.manifest.version == max(self.versions)

    # ---- what holds after each step ----

    @invariant()
    def the_current_version_is_the_models(self):
        if not versions(self.path):
            return
        self.steps.append(1)
        assert versions(self.path) == sorted(self.versions)
        rows, skipped = self.reader.content(self.path, max(self.versions))
        assert rows == self.current.rows
        assert skipped == self.current.skipped

    @invariant()
    def a_pinned_version_answers_as_when_it_was_opened(self):
        if not self.pinned:
            return
        pinned = self.random.choice(self.pinned)
        assert [codes.tobytes() for codes in pinned.mapped] == pinned.bytes
        try:
            if self.random.random() < 0.7:
                assert [codes.tobytes() for codes in pinned.index.codes] == pinned.bytes
            else:
                ask(pinned.index, pinned.state, self.random)
        except NagIndexError as error:
            if pinned.index.manifest.version in self.versions or "missing, though segment" not in str(error):
                raise

    def teardown(self):
        if versions(self.path):
            reader = Reader()
            assert list(Index.open(self.path).verify()) == []
            for version, state in self.versions.items():
                assert reader.content(self.path, version) == (state.rows, state.skipped)


def run(tmp_path, patch, fingerprint, examples, of):
    """Run the machine, whose rules and invariants assert, and return the share of the steps asked for that it took."""
    Machine.disk, Machine.steps, Machine.fingerprint = Disk(), [], staticmethod(fingerprint)
    Machine.folders = (tmp_path / f"{number}.nagindex" for number in count())
    Machine.disk.install(patch)
    told = settings(max_examples=examples, stateful_step_count=STEPS, derandomize=True, deadline=None)
    run_state_machine_as_test(seed(of)(Machine), settings=told)
    return len(Machine.steps) / (examples * STEPS)


@pytest.mark.parametrize("of", SEEDS)
def test_any_sequence_of_operations_leaves_what_the_model_holds(tmp_path, monkeypatch, fingerprint, of):
    assert run(tmp_path, monkeypatch, fingerprint, EXAMPLES, of) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("of", [len(SEEDS) + number for number in SEEDS])
def test_many_more_sequences_leave_what_the_model_holds(tmp_path, monkeypatch, fingerprint, of):
    assert run(tmp_path, monkeypatch, fingerprint, 10 * EXAMPLES, of) >= 0.8
