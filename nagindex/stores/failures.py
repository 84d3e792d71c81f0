"""What goes wrong with object stores: failures that may pass, and errors that name the object, the reason and the remedy."""

from __future__ import annotations

import re

from nagindex.errors import BadInputError, NagIndexError, ObjectStoreError
from nagindex.stores.urls import credentials

_TRANSIENT = {"408", "409", "425", "429", "500", "502", "503", "504"}


def failure_of(error: Exception, url: str, name: str = "", *, attempts: int) -> Exception:
    """Return the error to raise for one of obstore; nothing in it is secret.

    Args:
        error: what obstore raised.
        url: the store's URL.
        name: the object's name below it; empty for the store.
        attempts: how often the request was made.
    """
    if isinstance(error, NagIndexError):
        return error
    text, kind = str(error), type(error).__name__
    place = f"{url}/{name}" if name else url
    if "NoSuchBucket" in text or "ContainerNotFound" in text:
        return BadInputError(f"{url}: the bucket does not exist; make it first, or name another")
    if _lacks_credentials(text):
        return ObjectStoreError(
            f"{place}: no credentials in the environment; set those of the store, such as {credentials(url)}"
        )
    reason = _reason(text) or kind
    if page_expired(error):
        return ObjectStoreError(
            f"{place}: the store does not list it to the end after {attempts} attempts ({reason}); run the same command again"
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError", "PermissionError") or "HTTP 40" in reason:
        return ObjectStoreError(
            f"{place}: the store refuses ({reason}); check the credentials in the environment and their rights"
        )
    if is_transient(error):
        return ObjectStoreError(
            f"{place}: the store does not answer after {attempts} attempts ({reason}); run the same command again"
        )
    return ObjectStoreError(f"{place}: the store cannot be used ({reason}); check the URL and the environment")


def is_transient(error: Exception) -> bool:
    """Return whether a request may succeed when it is repeated."""
    text = str(error)
    status = re.search(r"status code: (\d{3})", text)
    if status is not None:
        return status[1] in _TRANSIENT
    if _lacks_credentials(text):
        return False
    return type(error).__name__ == "GenericError" and ("HTTP error" in text or "Http(" in text)


def page_expired(error: Exception) -> bool:
    """Return whether a store no longer knows the page of a listing that it was asked to go on from."""
    text = str(error)
    return "status code: 400" in text and "continuation-token" in text


def _lacks_credentials(text: str) -> bool:
    """Return whether an error tells that the environment holds no credentials, so that the machine's role was asked for, in vain."""
    return any(mark in text for mark in ("169.254.169.254", "metadata.google", "Account must be specified"))


def _reason(text: str) -> str:
    """Return the reason in an error's text: a status and a code, or what happened to the connection; nothing else of it."""
    status, code = re.search(r"status code: (\d{3}[ \w]*)", text), re.search(r"<Code>(\w+)</Code>", text)
    if status is not None:
        return " ".join(["HTTP", status[1].strip(), *([code[1]] if code else [])])
    for mark, reason in {
        "kind: Timeout": "timed out",
        "TimedOut": "timed out",
        "kind: Connect": "no connection",
    }.items():
        if mark in text:
            return reason
    return "the connection was lost" if "HTTP error" in text else ""
