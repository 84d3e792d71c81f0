"""Questions to an index that `nagindex.analysis` answers: neurons to switch off, and maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nagindex.arguments import checked, written_layers
from nagindex.facade.encoding import EncodingIndex
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.search.view import View
from nagindex.targets.given import EncodeKeywords, TargetFiles, Targets
from nagindex.targets.load import require_encodable

if TYPE_CHECKING:
    from nagindex.analysis.agreement import Agreement
    from nagindex.analysis.choice import NeuronChoice
    from nagindex.analysis.maps import NagMap


class AnalyzingIndex(EncodingIndex):
    """An index whose targets and pool are analyzed as a whole."""

    @checked
    @reports_progress
    def choose_neurons(
        self,
        target: TargetFiles,
        *,
        count: int = 20,
        by: str = "frequency",
        layers: str | int | Sequence[int] | None = None,
        seed: int = 0,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> NeuronChoice:
        """Return the neurons of each layer that stand most for a target, to be switched off by `nagindex.analysis.deactivated`.

        Only neurons that some example's NAG holds are chosen, except at random, so a layer may have fewer than `count`.

        Args:
            target: one target, as in `encode`.
            count: number of neurons of each layer.
            by: `frequency` among the examples, as in the published code; `contrast[:A]`, `log-odds[:m]` or `log-ratio[:m]`, the weights
                of a query that compare it with the pool; `impact`, their places in the examples' orders of impact, K points for the
                strongest neuron of a layer, K - 1 for the next and so on; or `random`, of all neurons of a layer.
            layers: layers whose neurons are chosen, as in `QueryOptions`; by default all of the index.
            seed: of the random choice.
            threads: threads that count the pool's neurons; by default one for each CPU.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            BadInputError: there is no such `by`, a layer has fewer neurons than `count`, or several targets are given.
        """
        from nagindex.analysis.choice import choose_for, require_choosable

        require_choosable(self.manifest.fingerprint.spec, count, by, layers)
        require_encodable(target, encoding)  # before a model is loaded
        encoded = self.encode(target, **encoding)
        return choose_for(self.snapshot, encoded, count, by, layers=layers, seed=seed, threads=threads)

    @checked
    @reports_progress
    def map(
        self,
        targets: Targets = (),
        *,
        pool: int = 20_000,
        label: str | None = None,
        layers: str | int | Sequence[int] | None = None,
        top_k: int | None = None,
        perplexity: float = 30.0,
        seed: int = 0,
        with_text: bool = False,
        corpus_root: str | Path | None = None,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> NagMap:
        """Return the examples of targets and a sample of the pool on a plane, by t-SNE on the distance 1 - overlap.

        Args:
            targets: as in `encode`; none for a map of the pool alone.
            pool: documents of the sample; 0 for none.
            label: kept column whose values are the documents' labels; by default all are labeled `pool`.
            layers: layers that count, as in `QueryOptions`.
            top_k: neurons of each layer that count; by default all that the index keeps.
            perplexity: of t-SNE, about the number of neighbors that count; at most a third of the points is taken.
            seed: of the sample and of the layout.
            with_text: whether to read the beginnings of the texts.
            corpus_root: where the sources lie now, if the texts are read and they were moved.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            BadInputError: the index keeps no such column, there are fewer than ten points, or a value is out of range.
            MissingDependencyError: scikit-learn is not installed.
        """
        from nagindex.analysis.maps import make_map, require_mappable

        view = View.of(self.manifest.fingerprint.spec, written_layers(layers), top_k)
        require_mappable(self.snapshot, pool, label, perplexity)
        root = None if corpus_root is None else str(corpus_root)
        return make_map(
            self.snapshot, self._encoded(targets, encoding), view, pool=pool, label=label, seed=seed,
            perplexity=perplexity, with_text=with_text, corpus_root=root,
        )  # fmt: skip

    @checked
    @reports_progress
    def map_sweep(
        self,
        targets: Targets = (),
        *,
        pool: int = 5_000,
        label: str | None = None,
        layers: str | Sequence[str] = (),
        top_k: int | Sequence[int] = (),
        seed: int = 0,
        progress: ProgressCallback | None = None,
        **encoding: Unpack[EncodeKeywords],
    ) -> Agreement:
        """Return how well clusters of NAGs agree with labels, for some K and sets of layers: a help to choose both.

        Points are clustered by k-means on their NAGs as 0/1 vectors, into as many clusters as there are labels. The smaller K are
        prefixes of the codes, so one index tells of them all.

        Args:
            targets: as in `encode`: their examples, labeled by their names, are the points where `label` names no column.
            pool: documents of the sample of the pool, where it does.
            label: kept column whose values are the labels of the sample.
            layers: sets of layers to compare, each as text, such as `first-half` or `0-13`; by default all, the first half and third, and
                the last layer.
            top_k: values of K to compare; by default that of the index, a half and a quarter of it, and 1.
            seed: of the sample and of the clustering.
            progress: called with a `Progress` as each step begins, advances and ends.
            encoding: keyword arguments of `encode`.

        Raises:
            BadInputError: the index keeps no such column or no such layers, or there are fewer than two labels.
            MissingDependencyError: scikit-learn is not installed.
        """
        from nagindex.analysis.agreement import measure_agreement, sweep_views
        from nagindex.analysis.maps import require_mappable

        named = [layers] if isinstance(layers, str) else list(layers)
        wanted = [top_k] if isinstance(top_k, int) else list(top_k)
        views = sweep_views(self.manifest.fingerprint.spec, wanted, named)
        require_mappable(self.snapshot, pool, label, 2.0)
        encoded = self._encoded(targets, encoding) if label is None else []
        return measure_agreement(self.snapshot, encoded, views, pool=pool, label=label, seed=seed)
