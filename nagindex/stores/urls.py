"""URLs of places in object stores: one spelling each, and no credentials in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nagindex.errors import BadInputError

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az", "abfs": "az", "abfss": "az"}
"""Schemes of URLs of objects, each with the one that names the kind of store; `file` is a folder used as a store."""
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_URL = re.compile(rf"({'|'.join([*SCHEMES, 'file'])}):/+")
HUB = "hf"
"""Scheme of files of the Hugging Face Hub, which are read and never written."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


def is_url(path: str | Path) -> bool:
    """Return whether a path is the URL of a place in an object store; a `Path` made of one counts, too."""
    return _URL.match(str(path)) is not None


def is_remote(path: str | Path) -> bool:
    """Return whether a path is the URL of files that lie elsewhere: in an object store, or on the Hugging Face Hub."""
    found = _SCHEME.match(str(path))
    return found is not None and found[1] in (*SCHEMES, HUB)


def source_place(path: str | Path) -> str | Path:
    """Return where files to read lie: a local path as it is, that of a file URL, or another URL in one spelling.

    Raises:
        BadInputError: it is a URL of no known kind, or holds credentials or parameters.
    """
    if isinstance(path, str) and "://" in path and not (is_url(path) or is_remote(path)):
        known = ", ".join([*SCHEMES, HUB, "file"])
        raise BadInputError(f"{path.partition(':')[0]}://...: no URL that nagindex reads files from; known are {known}")
    if is_url(path) and not is_remote(path):
        return Path(unquote(urlsplit(normalized_url(path)).path))
    if not is_remote(path):
        return path
    if not str(path).startswith(f"{HUB}:"):
        return normalized_url(path)
    rest = str(path)[len(HUB) + 1 :].strip("/")
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise BadInputError(
            f"{HUB}://...: a token belongs in HF_TOKEN, not in the URL; names with ? or # cannot be used"
        )
    return f"{HUB}://{rest}"


def absolute(path: str | Path) -> str:
    """Return an absolute path as text; a URL in one spelling."""
    place = source_place(path) if is_url(path) or is_remote(path) else path
    return str(place) if is_remote(place) else os.path.abspath(place)


def normalized_url(url: str | Path) -> str:
    """Return a URL with one spelling of its scheme and no slash at its end.

    Raises:
        BadInputError: it holds credentials or parameters, or names no bucket.
    """
    match = _URL.match(str(url))
    if match is None:
        scheme = str(url).partition(":")[0]
        raise BadInputError(f"{scheme}://...: no URL of an object store; known are {', '.join(SCHEMES)} and file")
    scheme, rest = match[1], str(url)[match.end() :].rstrip("/")
    try:
        parts = urlsplit(f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://{rest}")
    except ValueError as error:
        raise BadInputError(f"{scheme}://...: not a URL ({error}); write {scheme}://BUCKET/PREFIX") from error
    # The secret of a key may hold slashes, so that what follows the first looks like a path.
    users = rest.count("@") - (scheme in ("abfs", "abfss"))
    if parts.query or parts.fragment or (scheme != "file" and (users > 0 or ":" in parts.netloc)):
        raise BadInputError(
            f"{scheme}://...: credentials and parameters belong in the environment, not in the URL; names with @, ? or # cannot be used"
        )
    if scheme == "file":
        return f"file:///{rest}"
    if not parts.netloc.rpartition("@")[2]:
        raise BadInputError(f"{scheme}://: names no bucket; write {scheme}://BUCKET/PREFIX")
    scheme = scheme if scheme in ("abfs", "abfss") else SCHEMES[scheme]
    return f"{scheme}://{parts.netloc}{parts.path}"


def credentials(url: str) -> str:
    """Return the names of the variables that usually hold the credentials of a store."""
    return _CREDENTIALS[SCHEMES[url.partition(":")[0]]]


def account(url: str) -> str:
    """Return what the environment adds to a URL to say which store is meant: S3's endpoint, or Azure's account and endpoint."""
    if url.startswith("s3:"):
        return endpoint()
    if url.startswith(("az:", "abfs")):
        names = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURE_STORAGE_USE_EMULATOR")
        return " ".join(os.environ.get(name, "") for name in names)
    return ""


def endpoint() -> str:
    """Return the address that the environment gives for S3, without user info; empty by default."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    found = next((os.environ[name] for name in names if os.environ.get(name)), "")
    parts = urlsplit(found)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if found else ""
