"""The answer to a query: selected documents with the record of how they were found, to be explained, reported or written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nagindex.arguments import checked
from nagindex.corpus.sql import quote_name
from nagindex.errors import BadInputError
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.query.export import format_of, write_rows
from nagindex.query.rows import MEMORY, ROWS_PER_PART, Batches
from nagindex.query.selected_rows import SelectedRows
from nagindex.search.plan import Plan
from nagindex.select.recorded import recorded_options
from nagindex.storage.files import replacing
from nagindex.storage.part_folders import names_parts, writing_parts
from nagindex.storage.places import check_output_beside
from nagindex.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from nagindex.query.explain import Explanation
    from nagindex.query.report_targets import Selected
    from nagindex.targets.saved import TargetSet

MEMORY_WITH_TEXTS = 1 << 30
"""Bytes for each thread in which rows are written with their texts; see `run_within`."""


class Selection(SelectedRows):
    """Selected documents, best first; with several targets, one target's after another's.

    Attributes:
        settings: the query, the index's version and the targets, as JSON values: enough to make the selection again.
        warnings: sentences for the user.
        dropped: documents left out because they share an n-gram with evaluation texts, and examples that do, as JSON values.
        plan: the engine that found the documents, the reason for it, and what it read.
        columns: names of the columns.
    """

    def __init__(
        self,
        chosen: Batches,
        *,
        columns: Sequence[str] = (),
        limits: Sequence[int] | None = None,
        snapshot: Snapshot,
        settings: dict[str, Any],
        plan: Plan,
        targets: Callable[[], Sequence[TargetSet]],
        warnings: Sequence[str] = (),
        dropped: Sequence[dict[str, Any]] | None = (),
        ray: str | None = None,
    ) -> None:
        """Order the documents by ranking, descending key and ascending id, and look up their columns.

        Args:
            chosen: at least one document.
            columns: names of the batches' further columns.
            limits: of each ranking, how many of its documents are selected, the first ones; by default all.
            snapshot: the version that was searched.
            settings: see above.
            plan: see above.
            targets: encodes the target sets again, or returns them.
            warnings: see above.
            dropped: see above; None where it is not known.
            ray: the Ray cluster whose tasks write a folder of parts. Rows are then looked up here only if something else asks for them.

        Raises:
            BadInputError: the index keeps a column with the name of one that this selection needs.
        """
        super().__init__(chosen, snapshot, columns, limits, lazy=ray is not None)
        self._ray = ray
        self.settings, self.warnings, self.dropped, self.plan = settings, list(warnings), list(dropped or ()), plan
        self._targets, self._knows_dropped = targets, dropped is not None

    @checked
    @reports_progress
    def explain(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[Explanation]:
        """Return what the scores of documents are made of, by the query's own targets and options: for each, one explanation a target.

        Args:
            ids: ids of documents, selected or not, or one id; by default those of the best document of each target.
            threads: threads that count neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: an id is not in the index.
        """
        from nagindex.query.explain import explain

        wanted = [row["id"] for row in self.head(1)] if ids is None else [ids] if isinstance(ids, str) else list(ids)
        options = recorded_options(self.settings["query"])
        return explain(self._snapshot, list(dict.fromkeys(wanted)), self._targets(), options, threads=threads)

    @checked
    @reports_progress
    def report(
        self,
        path: str | Path,
        *,
        title: str | None = None,
        with_text: bool = True,
        map: int | None = None,  # noqa: A002 - the word users expect
        corpus_root: str | Path | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Write a page about the selection: one self-contained HTML file, which appears whole or not at all.

        It shows the query and the index, the composition of the selection against the pool, score distributions and other cutoffs, a
        map, contributions of layers and neurons, example documents with their texts and explanations, and the selected documents as a
        table. All candidates are scored again for it.

        Args:
            path: the file, whose name ends in .html; one that exists is replaced, unless it is an input or a source of the index.
            title: the page's title; by default one of its size and targets.
            with_text: whether to show texts of documents and examples; where sources have changed, texts are left out with a note.
            map: documents of the pool that the map shows beside selected documents and examples, 0 for no map; by default 1,000, or none,
                with a sentence that says why, where a map cannot be made.
            corpus_root: where the sources lie now; by default where they were read.
            threads: threads of the scan; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the name does not end in .html, the file must not be overwritten, or there are too few points for the map
                that `map` asks for.
            MissingDependencyError: `map` asks for a map, and scikit-learn is not installed.
            InputNotFoundError: a file of excluded ids or scores is gone.
        """
        from nagindex.query.reports import report_of, require_map
        from nagindex.report.render import render

        file = Path(path)
        if file.suffix.lower() not in (".html", ".htm"):
            raise BadInputError(f"{file}: a report is a page; name a file that ends in .html")
        check_output_beside(file, self._snapshot, corpus_root, inputs=self._inputs())
        if map:
            require_map(map)
        selected = self._selected()
        page = report_of(
            selected, title=title, with_texts=with_text, corpus_root=corpus_root, pool_points=map, threads=threads
        )
        with replacing(file) as temporary:
            temporary.write_text(render(page), encoding="utf-8")

    def _selected(self) -> Selected:
        """Return the selection as a report takes it."""
        from nagindex.query.report_targets import Selected

        targets = list(self._targets())
        extra = "".join(f", {quote_name(name)}" for name in self._extra)
        found = self._connection.execute(f"SELECT _position, rank, score{extra} FROM selection").fetchnumpy()
        numbers = {target.name: number for number, target in enumerate(targets)}
        owners = np.zeros(len(found["rank"]), np.int64)
        if len(targets) > 1 and "target" in found:
            owners = np.array([numbers[name] for name in found["target"]], np.int64)
        return Selected(
            snapshot=self._snapshot,
            settings=self.settings,
            options=recorded_options(self.settings["query"]).for_targets(len(targets)),
            targets=targets,
            positions=found["_position"],
            ranks=found["rank"],
            scores=found["score"],
            owners=owners,
            columns={name: found[name] for name in self._extra},
            warnings=self.warnings,
            dropped=self.dropped if self._knows_dropped else None,
        )

    @checked
    def to_parquet(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as Parquet.

        Args:
            path: as in `write`, like the following.
            with_text: see there.
            corpus_root: see there.
        """
        self.write(path, format="parquet", with_text=with_text, corpus_root=corpus_root)

    @checked
    def to_jsonl(self, path: str | Path, *, with_text: bool = False, corpus_root: str | Path | None = None) -> None:
        """Write the selection as JSON lines.

        Args:
            path: as in `write`, like the following.
            with_text: see there.
            corpus_root: see there.
        """
        self.write(path, format="jsonl", with_text=with_text, corpus_root=corpus_root)

    @checked
    def write(
        self,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002 - the word users expect
        with_text: bool = False,
        corpus_root: str | Path | None = None,
    ) -> None:
        """Write the selection, best document first, as a file, or a folder of Parquet parts, that appears whole or not at all.

        Parquet files have row groups of about 100,000 rows and hold `settings` as JSON under the metadata key `nagindex`. The parts of a
        folder, named part-00000.parquet and so on, follow one another, and `_metadata` holds the settings and the footers of all. Where
        the query was made on a Ray cluster, its tasks look up the rows of a folder and write its parts.

        Args:
            path: the file; one that exists is replaced, unless it is a source of the index or lies in an index. Or a folder, as text
                with a slash at its end, which must be new, or empty.
            format: `parquet`, `jsonl`, `csv` or `ids` (one a line); by default as the name ends: .parquet, .jsonl, .csv or .txt, the
                last three also with .gz or .zst.
            with_text: whether to add a column `text`, read again from the sources.
            corpus_root: where the sources lie now; by default where they were read.

        Raises:
            BadInputError: there is no such format, the name tells none, an id does not fit a line of ids, or the file must not be
                overwritten.
            InputNotFoundError: a node of the cluster does not see the folder, or there is no cluster any more.
            MissingDependencyError: pyarrow, which a folder needs, is not installed.
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        kind, _ = format_of(path, format)
        if with_text and kind == "ids":
            raise BadInputError(f"{path}: a file of ids has no texts; leave `with_text` out, or use another format")
        check_output_beside(path, self._snapshot, corpus_root, inputs=self._inputs(), parts=True)
        if names_parts(path) and self._ray is not None:
            self._write_by_tasks(self._ray, path, with_text, corpus_root)
            return
        if with_text:
            self._read_texts(corpus_root)
        memory = MEMORY_WITH_TEXTS if with_text else MEMORY
        if names_parts(path):
            self._write_parts(path, with_text, memory)
            return
        select = self._select(with_text=with_text)
        write_rows(self._connection, select, Path(path), format=format, settings=self.settings, memory=memory)

    def _write_parts(self, path: str | Path, with_text: bool, memory: int) -> None:
        """Write a folder of parts by this process."""
        from nagindex.query.parts import write_metadata, write_part

        with writing_parts(path) as place:
            footers = []
            for number, first in enumerate(range(0, len(self), ROWS_PER_PART)):
                rows = f"_row > {first} AND _row <= {first + ROWS_PER_PART}"
                select = self._select(with_text=with_text, condition=rows)
                footers.append(
                    write_part(self._connection, select, place, number, settings=self.settings, memory=memory)
                )
            write_metadata(place, footers)

    def _write_by_tasks(self, ray: str, path: str | Path, with_text: bool, corpus_root: str | Path | None) -> None:
        """Write a folder of parts by tasks on a Ray cluster."""
        from nagindex.query.remote_rows import write_by_tasks

        self._totals = write_by_tasks(
            ray,
            path,
            self._snapshot,
            self._chosen,
            self._limits,
            columns=self._extra,
            settings=self.settings,
            with_text=with_text,
            corpus_root=corpus_root,
        )

    @checked
    def write_dropped(self, path: str | Path) -> None:
        """Write `dropped` as JSON lines, as a file that appears whole or not at all.

        Args:
            path: the file; one that exists is replaced.
        """
        check_output_beside(path, self._snapshot)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.dropped)
        with replacing(path) as temporary:
            temporary.write_text(lines)

    def _inputs(self) -> list[str]:
        """Return the files that the query read: targets, and those that its options name."""
        query = self.settings["query"]
        files = [target.rpartition("=")[2] for target in query.get("targets", ())]
        options = [*query.get("exclude", ()), *query.get("decontaminate", ()), query.get("scores")]
        return [*files, *filter(None, options)]
