"""Files of the Hugging Face Hub: data sets, models and buckets behind `hf://` URLs, read through its own file system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nagindex.errors import ObjectStoreError
from nagindex.stores.entries import Entry, changed

T = TypeVar("T")


class Hub:
    """Files of the Hugging Face Hub; a token comes from HF_TOKEN or a login."""

    def find_one(self, url: str) -> Entry | None:
        """Return the file of a URL as it is now, with one request, and one for each repository; None if it is a folder, or nothing."""
        try:
            found = _attempt(lambda: _info(url), url)
        except FileNotFoundError:
            return None
        return _entry(url, found) if found["type"] == "file" else None

    def find_below(self, url: str) -> list[Entry]:
        """Return the files below a folder, sorted by name."""

        def find() -> dict[str, dict[str, Any]]:
            return dict(_system().find(_path(url), detail=True, refresh=True))

        try:
            found = _attempt(find, url)
        except FileNotFoundError:
            return []
        depth = len(_path(url).split("/"))  # names have the revision in another spelling
        return [
            _entry("/".join([url, *name.split("/")[depth:]]), own)
            for name, own in sorted(found.items())
            if own["type"] == "file"
        ]

    def read(self, entry: Entry, start: int, stop: int) -> bytes:
        """Return some bytes of a file; whether it is still the same is known from `find_one` alone."""

        def read() -> bytes:
            # without the size, the folder would be listed for it
            with _system().open(_path(entry.url), "rb", cache_type="none", size=entry.size) as opened:
                opened.seek(start)
                return bytes(opened.read(stop - start))

        try:
            content = _attempt(read, entry.url)
        except FileNotFoundError:
            raise changed(entry.url) from None
        if len(content) != stop - start:
            raise changed(entry.url)
        return content


def _info(url: str) -> dict[str, Any]:
    """Ask for the type, size and hashes of a file or folder.

    The file system's own `info` lists the folder of a file, or leaves the hashes out.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    system = _system()
    place = system.resolve_path(_path(url))
    if not hasattr(place, "path_in_repo"):  # in a bucket, whose files have no such request
        return dict(system.info(_path(url), refresh=True))
    if not place.path_in_repo:
        return {"type": "directory"}
    api = HfApi(endpoint=system.endpoint, token=system.token)
    found = api.get_paths_info(place.repo_id, place.path_in_repo, revision=place.revision, repo_type=place.repo_type)
    if not found:
        raise FileNotFoundError(url)
    return {"type": "file" if isinstance(found[0], RepoFile) else "directory", **vars(found[0])}


def _path(url: str) -> str:
    return url.partition("://")[2]


def _entry(url: str, found: dict[str, Any]) -> Entry:
    lfs = found.get("lfs")
    version = (getattr(lfs, "sha256", None) if lfs else None) or found.get("blob_id") or found.get("xet_hash") or ""
    return Entry(url, found["size"], str(version))


def _system() -> Any:
    from huggingface_hub import HfFileSystem

    return HfFileSystem()


def _status(error: BaseException) -> int | None:
    """Return the status of the Hub's answer, of an error or of its cause."""
    for own in (error, error.__cause__):
        status = getattr(getattr(own, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _attempt(action: Callable[[], T], url: str) -> T:
    """Return what an action returns; its library repeats requests itself.

    Raises:
        FileNotFoundError: there is no such file, or it has become shorter than what is read of it.
        ObjectStoreError: the Hub does not answer, or refuses.
    """
    try:
        return action()
    except Exception as error:
        status = _status(error)
        _system().invalidate_cache()  # what is not there, or refused, may be there the next time
        if status in (401, 403):
            raise ObjectStoreError(
                f"{url}: the Hugging Face Hub refuses (HTTP {status}): it has no such data set, or yours have no access; "
                "check the name, or set HF_TOKEN"
            ) from None
        if isinstance(error, FileNotFoundError) or status in (404, 416):
            raise FileNotFoundError(url) from None
        reason = f"HTTP {status}" if status is not None else type(error).__name__
        raise ObjectStoreError(
            f"{url}: the Hugging Face Hub does not answer ({reason}); run the same command again"
        ) from None
