"""Encoding as an index does: its backbone, and targets as NAGs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nagindex.arguments import checked
from nagindex.backbone.devices import require_devices
from nagindex.backbone.options import ModelKeywords, ModelOptions
from nagindex.errors import BadInputError
from nagindex.facade.opened import OpenedIndex
from nagindex.progress import ProgressCallback, reports_progress
from nagindex.select.fit import require_fit
from nagindex.select.options import AskKeywords, QueryOptions, split_keywords
from nagindex.storage.calibration import read_calibration
from nagindex.storage.fingerprint import installed_libraries
from nagindex.storage.places import check_output_beside
from nagindex.targets.cache import TargetCache
from nagindex.targets.given import EncodeKeywords, Targets, TextColumn, repeatable
from nagindex.targets.load import load_targets, require_encodable
from nagindex.targets.saved import TargetSet, write_nags

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


class EncodingIndex(OpenedIndex):
    """An index that encodes texts as its documents were encoded."""

    @checked
    def backbone(self, **model: Unpack[ModelKeywords]) -> Backbone:
        """Return the model that encodes as this index does, loaded on the first call; library versions may differ.

        Args:
            model: fields of `ModelOptions`: model, device (one) and trust_remote_code.

        Raises:
            SettingsMismatchError: the model is another one; names both values.
        """
        return self._load(ModelOptions(**model))

    def _load(self, options: ModelOptions) -> Backbone:
        from nagindex.backbone.load import load_matching_backbone

        fingerprint = self.manifest.fingerprint
        means = read_calibration(self.path, fingerprint)
        self._backbone = load_matching_backbone(fingerprint, self._backbone, options, where=str(self.path), means=means)
        return self._backbone

    @checked
    @reports_progress
    def encode(
        self,
        targets: Targets,
        *,
        text_column: TextColumn | None = None,
        target_column: str | None = None,
        model: str | None = None,
        device: str = "auto",
        cache: bool = True,
        progress: ProgressCallback | None = None,
    ) -> list[TargetSet]:
        """Return target sets, from texts or from saved NAGs, as codes of this index's encoding.

        Args:
            targets: a file, glob or folder, as a Path or one str; a list of texts; or codes uint16 [n, L, K]. Several of them, or a
                mapping of names to them, are several targets; a list of nothing but strings is one target, of texts.
            text_column: column of the texts, of all targets or by target (`*` stands for the others); by default found in each file.
            target_column: column of the target's name, where one file holds several targets.
            model: where the backbone lies now, if it was moved.
            device: a torch device.
            cache: whether to look codes up in, and add them to, the index's cache of target texts.
            progress: called with a `Progress` as each step begins, advances and ends.

        Raises:
            BadInputError: a target has no example, or saved NAGs are damaged.
            SettingsMismatchError: saved NAGs have another encoding.
        """
        require_devices([device])
        fingerprint = self.manifest.fingerprint
        here = dataclasses.replace(fingerprint, libraries=installed_libraries())  # the index's may be older
        return load_targets(
            targets,
            fingerprint=fingerprint,
            backbone=partial(self._load, ModelOptions(model, device)),
            text_column=text_column,
            target_column=target_column,
            batch_tokens=self.manifest.settings.batch_tokens,
            cache=TargetCache(self.path / "derived" / "targets", here) if cache else None,
        )

    @checked
    def check_output(
        self,
        path: str | Path,
        *,
        inputs: Iterable[str | Path] = (),
        corpus_root: str | Path | None = None,
        parts: bool = False,
    ) -> None:
        """Raise BadInputError unless a file can be written at a path without loss: to be called before something is computed.

        Args:
            path: the file; one that exists will be replaced.
            inputs: files, globs and folders that must not be overwritten, besides the index and its sources.
            corpus_root: where the sources lie now, if they were moved.
            parts: whether a folder of Parquet parts may be meant, by a slash at the end of its name; it must be new, or empty.

        Raises:
            BadInputError: the path is an input or a source, lies in an index, or cannot be written.
            MissingDependencyError: it is a folder of parts, and pyarrow is not installed.
        """
        check_output_beside(path, self.snapshot, corpus_root, inputs=inputs, parts=parts)

    @checked
    def save_targets(self, targets: Sequence[TargetSet], path: str | Path) -> None:
        """Write encoded target sets as a Parquet file that can be used as targets of this index, without its backbone.

        Args:
            targets: what `encode` returns.
            path: the file; one that exists is replaced, unless it is a source of the index.

        Raises:
            BadInputError: the file's name does not end in .parquet, or it must not be overwritten.
        """
        file = Path(path)
        if file.suffix != ".parquet":
            raise BadInputError(f"{file}: NAGs are saved as Parquet; name a file that ends in .parquet")
        check_output_beside(file, self.snapshot)
        write_nags(file, targets, self.manifest.fingerprint)

    def _encoded(self, targets: Targets, encoding: EncodeKeywords) -> list[TargetSet]:
        """Return target sets, or none where no target is given."""
        given = repeatable(targets)
        if isinstance(given, (list, tuple, dict)) and not given:
            return []
        require_encodable(given, encoding)
        return self.encode(given, **encoding)

    def _asked(
        self, targets: Targets, options: QueryOptions | None, keywords: AskKeywords
    ) -> tuple[Targets, QueryOptions, EncodeKeywords]:
        """Return targets that can be read twice, query options given as an object or as keywords, and how targets are encoded.

        What does not fit the index, or cannot be encoded, is refused before any encoding.
        """
        own, encoding = split_keywords(keywords)
        if options is not None and own:
            raise BadInputError(f"options are given as an object and as {', '.join(own)}; give one of the two")
        chosen, given = options or QueryOptions.of(**own), repeatable(targets)
        require_fit(chosen, self.manifest.fingerprint, where=self.path)
        require_encodable(given, encoding)
        return given, chosen, encoding
