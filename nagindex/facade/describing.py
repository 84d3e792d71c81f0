"""Questions to an index that say why: documents, neurons, targets and selections described."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nagindex.arguments import checked
from nagindex.errors import BadInputError
from nagindex.facade.encoding import EncodingIndex
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.select.options import AskKeywords, QueryOptions
from nagindex.storage.docs import positions_of, require_ids
from nagindex.storage.places import check_output_beside
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.given import Targets
from nagindex.targets.saved import write_profiles

if TYPE_CHECKING:
    from nagindex.query.compare import Comparison
    from nagindex.query.explain import Explanation
    from nagindex.query.neurons import Neuron
    from nagindex.query.target_profile import TargetProfile


class DescribingIndex(EncodingIndex):
    """An index that describes documents, neurons, targets and selections."""

    @checked
    @reports_progress
    def explain(
        self,
        ids: str | Sequence[str],
        targets: Targets,
        *,
        options: QueryOptions | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **keywords: Unpack[AskKeywords],
    ) -> list[Explanation]:
        """Return what the scores of documents are made of, layer by layer and neuron by neuron: for each, one explanation a target.

        Of the options, those of the score count: `layers`, `top_k`, `score`, `weights`; and `background`, with the candidates that
        `where` and `exclude` leave.

        Args:
            ids: ids of documents, or one id.
            targets: as in `encode`.
            options: the query options.
            threads: threads that count neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: an id is not in the index; or as in `query`.
        """
        from nagindex.query.explain import explain

        targets, chosen, encoding = self._asked(targets, options, keywords)
        wanted = [ids] if isinstance(ids, str) else list(ids)
        require_ids(self.snapshot, wanted)  # before a model is loaded
        encoded = self.encode(targets, **encoding)
        return explain(self.snapshot, wanted, encoded, chosen, threads=threads)

    @checked
    def compare(
        self, a: str | Path, b: str | Path, *, columns: Sequence[str] | None = None, values: int = 10
    ) -> Comparison:
        """Return what two selections share, how alike they order it, and what they hold by kept column and source file.

        Args:
            a: a selection's file, or any other that names ids, such as a .txt with one a line.
            b: another.
            columns: kept columns, or `file`; by default all of these.
            values: number of values of each column, those that most selected documents have.

        Raises:
            InputNotFoundError, BadInputError: a file is not there, cannot be read or has no column of ids; or there is no such column.
        """
        from nagindex.query.compare import compare

        return compare(self.snapshot, Path(a), Path(b), columns=columns, values=values)

    @checked
    @reports_progress
    def texts(
        self,
        ids: Sequence[str],
        *,
        corpus_root: str | Path | None = None,
        required: bool = True,
        progress: ProgressCallback | None = None,
    ) -> dict[str, str]:
        """Return the texts of documents by their ids, read again from the sources.

        Sources above 64 MiB are compared by size, and not by content.

        Args:
            ids: ids of documents.
            corpus_root: where the sources lie now; by default where they were read.
            required: whether an id that is not in the index is an error; it is left out otherwise.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: an id is not in the index.
            SourceChangedError: a source is missing or no longer holds what was encoded.
        """
        if not required:
            there = positions_of(self.snapshot, ids)
            ids = [one for one in ids if one in there]
        positions = require_ids(self.snapshot, ids)
        texts = SourceTexts(self.snapshot, corpus_root, hashed=False)
        return {ids[place]: text for place, text in texts.read(positions)}

    @checked
    @reports_progress
    def neurons(
        self,
        layer: int | None = None,
        *,
        n: int = 5,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[dict[str, Any]]:
        """Return the most frequent neurons: layer, neuron, documents whose NAG holds it, and their share of the index.

        Args:
            layer: the layer's number in the backbone; by default all layers.
            n: number of neurons of each layer.
            threads: threads that count; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index holds no document, or has no such layer.
        """
        from nagindex.query.neurons import most_frequent

        return most_frequent(self.snapshot, layer, count=n, threads=threads)

    @checked
    @reports_progress
    def neuron(
        self,
        layer: int,
        neuron: int,
        *,
        columns: Sequence[str] | None = None,
        values: int = 10,
        n: int = 10,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Neuron:
        """Return which documents hold a neuron, by kept column, where it is strongest, and which neurons they hold with it.

        Args:
            layer: the layer's number in the backbone.
            neuron: the neuron's number in the layer.
            columns: kept columns, or `file`; None for all kept columns of at most 50 values.
            values: number of values of each column, the commonest of the index.
            n: number of documents, and of other neurons.
            threads: threads of the pass over the codes; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: the index holds no document, or has no such layer, neuron or column.
        """
        from nagindex.query.neurons import neuron_of

        return neuron_of(self.snapshot, layer, neuron, columns=columns, values=values, count=n, threads=threads)

    @checked
    @reports_progress
    def profile(
        self,
        targets: Targets,
        *,
        options: QueryOptions | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **keywords: Unpack[AskKeywords],
    ) -> list[TargetProfile]:
        """Return the profile of each target: how much more frequent each neuron is among its examples than in the pool.

        Of the options, `weights` (here `log-odds:40` by default), `layers` and `top_k` count; and `background`, with the candidates that
        `where` and `exclude` leave.

        Args:
            targets: as in `encode`.
            options: the query options.
            threads: threads that count neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            keywords: fields of `QueryOptions`, in place of `options`; and keyword arguments of `encode`.

        Raises:
            BadInputError: the index holds no document; or as in `query`.
        """
        from nagindex.query.target_profile import profiles_of

        if options is None:
            keywords.setdefault("weights", "log-odds")
        targets, chosen, encoding = self._asked(targets, options, keywords)
        return profiles_of(self.snapshot, self.encode(targets, **encoding), chosen, threads=threads)

    @checked
    def save_profiles(self, profiles: Sequence[TargetProfile], path: str | Path, *, neurons: int = 10) -> None:
        """Write profiles, with the NAGs of their examples, as a JSON file that can be used as targets of this index.

        Args:
            profiles: what `profile` returns.
            path: the file; one that exists is replaced, unless it is a source of the index.
            neurons: number of neurons of each layer that the file lists for people; as targets the examples count.

        Raises:
            BadInputError: the file's name does not end in .json, or it must not be overwritten.
        """
        file = Path(path)
        if file.suffix != ".json":
            raise BadInputError(f"{file}: profiles are saved as JSON; name a file that ends in .json")
        check_output_beside(file, self.snapshot)
        told = [own.to_json(neurons=neurons) for own in profiles]
        write_profiles(file, [own.examples for own in profiles], self.manifest.fingerprint, told)
