"""The files that a query names beside its targets, read before anything else: ids to exclude, scores, evaluation texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagindex.corpus.sql import open_database
from nagindex.errors import BadInputError
from nagindex.select.id_files import load_ids, load_values
from nagindex.select.signals import Decontamination, Quality

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nagindex.select.decontaminate import EvaluationTexts


@dataclass(frozen=True)
class QueryFiles:
    """The content of the files that a query names.

    Attributes:
        excludes: whether ids are excluded.
        database: a table `_excluded` (id) of the ids to exclude, and `_values` (id, value) of the scores, each if such files are
            named; None if neither are.
        evaluation: the evaluation texts, None where none are named.
    """

    excludes: bool
    database: DuckDBPyConnection | None
    evaluation: EvaluationTexts | None

    @classmethod
    def read(
        cls,
        exclude: Sequence[str] = (),
        quality: Quality | None = None,
        decontamination: Decontamination | None = None,
    ) -> QueryFiles:
        """Return what the files hold.

        Args:
            exclude: files of ids.
            quality: names the file of scores, if there is one.
            decontamination: names the files of evaluation texts.

        Raises:
            InputNotFoundError, BadInputError: a file is missing, cannot be read, or has the wrong content.
        """
        evaluation = None if decontamination is None else _evaluation_texts(decontamination)
        scores = None if quality is None or quality.scores is None else Path(quality.scores)
        if not exclude and scores is None:
            return cls(False, None, evaluation)
        database = open_database()
        if exclude:
            load_ids(database, "_excluded", exclude)
        if quality is not None and scores is not None:
            load_values(database, "_values", scores, quality.column)
        return cls(bool(exclude), database, evaluation)


def _evaluation_texts(options: Decontamination) -> EvaluationTexts:
    from nagindex.select.decontaminate import EvaluationTexts

    try:
        return EvaluationTexts.read(options.files, ngram=options.ngram, text_column=options.column)
    except BadInputError as error:
        raise BadInputError(str(error).replace("`text_column`", "`evaluation_column`")) from error
