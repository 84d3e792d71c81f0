"""Calibrations: drawn from a corpus, taken from an index, or read from a file; and the files that hold one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import OnError, Source
from nagindex.encode.calibrate import mean_impacts
from nagindex.encode.encoder import default_batch_tokens
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError, InputNotFoundError, SettingsMismatchError
from nagindex.ingest.options import CALIBRATED_ON, BuildOptions
from nagindex.ingest.sample import sample_texts
from nagindex.storage.calibration import calibration_hash, read_calibration
from nagindex.storage.files import replacing
from nagindex.storage.fingerprint import Fingerprint
from nagindex.storage.locations import index_folder
from nagindex.storage.manifest import newest_version, read_latest

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone

SUFFIX = ".npz"
MEMBERS = {"means", "fingerprint", "documents"}


@dataclass(frozen=True)
class Calibration:
    """Mean impacts, and what they are of.

    Attributes:
        means: float32 [L, max d_l], 0 beyond a layer's width.
        fingerprint: the encoding that they belong to.
        documents: documents of the sample; 0 where that is not recorded.
    """

    means: npt.NDArray[np.float32]
    fingerprint: Fingerprint
    documents: int = 0

    def of_backbone(self, backbone: Backbone, *, max_length: int, where: str) -> npt.NDArray[np.float32]:
        """Return the means of a backbone's layers, float32 [L, max d_l].

        Args:
            backbone: the backbone, which may have fewer of the model's layers.
            max_length: tokens of each document that it reads.
            where: what the calibration was read from, for messages.

        Raises:
            SettingsMismatchError: they were not made by this encoding; names both values. K and library versions may differ.
        """
        spec = self.fingerprint.spec
        wanted = backbone.fingerprint(top_k=spec.top_k, max_length=max_length)
        places = [place for place, number in enumerate(spec.layer_numbers) if number in wanted.spec.layer_numbers]
        own = (
            dataclasses.replace(
                spec,
                widths=tuple(spec.widths[place] for place in places),
                numbers=wanted.spec.numbers,
            )
            if len(places) == wanted.spec.layers
            else spec
        )
        given = dataclasses.replace(
            wanted,
            spec=dataclasses.replace(wanted.spec, top_k=own.top_k),
            libraries=self.fingerprint.libraries,
            impact=self.fingerprint.impact,
            calibration=self.fingerprint.calibration,
        )
        differing = dataclasses.replace(self.fingerprint, spec=own).differences(given)
        if differing:
            raise SettingsMismatchError(
                f"{where}: calibrates another encoding: {'; '.join(differing).replace('in the index', 'there')}; "
                "give one of the same model and settings, or draw one with `calibrate()`"
            )
        return np.ascontiguousarray(self.means[places, : max(own.widths)])


@dataclass(frozen=True)
class Drawn:
    """Mean impacts over a sample of a corpus.

    Attributes:
        means: float32 [L, max d_l] for each backbone.
        documents: documents of the sample.
        sample: SHA-256 of their token ids.
    """

    means: list[npt.NDArray[np.float32]]
    documents: int
    sample: str


def draw_calibration(
    sources: Sequence[Source],
    backbones: Sequence[Backbone],
    columns: Columns,
    *,
    documents: int,
    max_length: int,
    on_error: OnError = "stop",
) -> Drawn:
    """Return the mean impacts of backbones over a sample of a corpus, all from one pass of the model.

    Args:
        sources: the corpus.
        backbones: views of one model, one for each neuron type.
        columns: which columns to read.
        documents: documents to draw; see `sample_texts`.
        max_length: tokens of each document that are read.
        on_error: as in `sample_texts`.

    Raises:
        BadInputError: no document could be drawn, or none has a token.
    """
    texts = sample_texts(sources, columns, count=documents, on_error=on_error)
    ids = [row for row in tokenize(backbones[0].tokenizer, texts, max_length=max_length, count=False).ids if row]
    if not ids:
        raise BadInputError("no document to calibrate on: none that was drawn has a token")
    digest = hashlib.sha256(json.dumps([list(map(int, row)) for row in ids]).encode()).hexdigest()
    return Drawn(mean_impacts(backbones, ids, batch_tokens=default_batch_tokens(backbones[0])), len(ids), digest)


def require_calibration(begun: Iterable[Path], options: BuildOptions) -> None:
    """Raise SettingsMismatchError if an index that holds documents has another kind of impact, or another sample's size."""
    impact = options.encoding.impact
    for folder in begun:
        manifest = read_latest(folder)
        stored = manifest.fingerprint.impact
        if stored != impact:
            raise SettingsMismatchError(
                f"{folder}: `impact` is {stored!r} in the index and {impact!r} here; use the index's settings, or build another index"
            )
        manifest.settings.require(dataclasses.replace(manifest.settings, calibrate=options.sample), where=str(folder))


def calibrations_of(
    indexes: Iterable[str | Path],
    views: Sequence[Backbone],
    sources: Sequence[Source],
    options: BuildOptions,
    columns: Columns,
    *,
    given: Calibration | None,
) -> tuple[list[npt.NDArray[np.float32] | None], str | None]:
    """Return the mean impacts for each index, float32 [L, max d_l], None for absolute impact; and the SHA-256 of the sample.

    They are those of an index that holds documents, those that are given, or those of a sample of the corpus, if one must be drawn. A
    source that cannot be read is passed over here: the build stops where it comes to it, and what precedes it is kept.

    Args:
        indexes: the folder of each index.
        views: the model, once for each index's neuron type, for absolute impact.
        sources: the corpus.
        options: how to build.
        columns: which columns to read.
        given: the calibration that the options name, if they name one.

    Raises:
        SettingsMismatchError: an index holds documents of another encoding, or what is given is of another.
        BadInputError: no document could be drawn.
    """
    encoding = options.encoding
    if encoding.impact == "absolute":
        return [None] * len(views), None
    if given is not None:
        where = str(options.calibration)
        return [given.of_backbone(view, max_length=encoding.max_length, where=where) for view in views], None
    found = [_stored_calibration(index_folder(path), view, options) for path, view in zip(indexes, views, strict=True)]
    lacking, sample = [number for number, means in enumerate(found) if means is None], None
    if lacking:
        drawn = draw_calibration(
            sources,
            [views[number] for number in lacking],
            columns,
            documents=options.sample or CALIBRATED_ON,
            max_length=encoding.max_length,
            on_error="skip",
        )
        sample = drawn.sample
        for number, means in zip(lacking, drawn.means, strict=True):
            found[number] = means
    return found, sample


def _stored_calibration(index: Path, view: Backbone, options: BuildOptions) -> npt.NDArray[np.float32] | None:
    """Return the calibration of an index that holds documents; None of another, whose calibration can still change.

    Raises:
        SettingsMismatchError: the index is of another encoding; names both values.
    """
    manifest = read_latest(index) if newest_version(index) else None
    if manifest is None or not manifest.segments:
        return None
    stored = manifest.fingerprint
    here = dataclasses.replace(
        view.fingerprint(top_k=stored.spec.top_k, max_length=options.encoding.max_length),
        impact=stored.impact,
        calibration=stored.calibration,
        libraries=stored.libraries,
    )
    stored.require(here, where=str(index))
    return read_calibration(index, stored)


def load_calibration(path: str | Path) -> Calibration:
    """Return the calibration of an index of relative impact, or of a file.

    Args:
        path: the folder of an index, or a file that `save_calibration` wrote.

    Raises:
        InputNotFoundError: there is neither.
        BadInputError: the index is of absolute impact, or the file is something else.
    """
    place = index_folder(path)
    if place.is_dir() or newest_version(place):
        fingerprint = read_latest(place).fingerprint
        means = read_calibration(place, fingerprint)
        if means is None:
            raise BadInputError(f"{place}: an index of absolute impact has no calibration; name another, or a file")
        return Calibration(means, fingerprint, read_latest(place).settings.calibrate or 0)
    if not place.exists():
        raise InputNotFoundError(f"{place}: no such index or file; give `calibration` one that exists")
    try:
        return _read_file(place)
    except Exception as error:  # which exception a damaged .npz raises depends on which of its bytes are damaged
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise BadInputError(
            f"{place}: not a calibration, or a damaged one{reason}; make one with `calibrate()`"
        ) from None


def _read_file(path: Path) -> Calibration:
    """Return what `save_calibration` wrote; raise an exception of any kind if it did not write the file."""
    if not path.is_file():
        raise ValueError("not a regular file")
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise ValueError("compressed")  # which `save_calibration` does not do, and who does may make it huge
    with np.load(path, allow_pickle=False) as stored:
        if set(stored.files) != MEMBERS:
            raise ValueError("other members")
        fingerprint = Fingerprint.from_json(json.loads(str(stored["fingerprint"])))
        means, documents = stored["means"], int(stored["documents"])
    spec = fingerprint.spec
    if means.dtype != np.float32 or means.shape != (spec.layers, max(spec.widths)):
        raise ValueError("another shape")
    if fingerprint.calibration != calibration_hash(means) or not np.isfinite(means).all() or means.min() < 0:
        raise ValueError("other means")
    return Calibration(means, fingerprint, documents)


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as a .npz file, which replaces one that exists.

    Raises:
        BadInputError: the file cannot be written there.
    """
    with replacing(path) as temporary, open(temporary, "xb") as file:
        np.savez(
            file,
            means=calibration.means,
            fingerprint=np.array(json.dumps(calibration.fingerprint.to_json())),
            documents=np.array(calibration.documents),
        )
