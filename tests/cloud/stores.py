"""What the tests of object stores share: a proxy that counts requests and makes them fail, and a reading of all objects."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "kLsecretKEY0123456789"
BUCKET = "pool-bucket"
CODES = {"500": "Injected", "409": "Injected", "403": "Injected", "503": "SlowDown", "429": "TooManyRequests"}
"""Statuses that the proxy answers with in place of the store, each with the code in its answer."""
WORDS = ("river", "mountain", "solver", "kettle", "proof", "garden", "violin", "planet", "engine")


class Proxy:
    """Forwards requests to the S3 server.

    Attributes:
        requests: (method, path with query) of each request since `reset`.
        fault: f(number, method, path) returns what happens to a request: None, `500`, `409`, `403`, `503` (slow down), `429`,
            `500 after` it was carried out, `lost` without an answer, `lost after` it was carried out, `late`, carried out 2.5 s
            later, `unconditional` without its If-None-Match, `stale`: a listing without the newest manifest, `blind`: nor the version
            hint, or `expired`: a listing that is continued is refused.
        page: objects on each page of a listing; None for the store's number.
    """

    def __init__(self, port: int) -> None:
        self.requests: list[tuple[str, str]] = []
        self.page: int | None = None
        self.fault: Callable[[int, str, str], str | None] = lambda *_: None
        self.lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy.lock:
                    proxy.requests.append((self.command, self.path))
                    fault = proxy.fault(len(proxy.requests), self.command, self.path)
                if fault in CODES:
                    self.answer(int(fault), {}, f"<Error><Code>{CODES[fault]}</Code></Error>".encode())
                    return
                if fault == "expired" and "continuation-token" in self.path:
                    self.answer(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
                    return
                if fault == "lost":
                    self.close_connection = True
                    return
                if fault == "late":
                    time.sleep(2.5)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                if fault == "unconditional":
                    headers.pop("If-None-Match", headers.pop("if-none-match", None))
                connection = http.client.HTTPConnection("127.0.0.1", port)
                listing = "list-type=2" in self.path
                paged = f"{self.path}&max-keys={proxy.page}" if listing and proxy.page else self.path
                connection.request(self.command, paged, body, headers)
                response = connection.getresponse()
                content = response.read()
                found = dict(response.getheaders())
                if listing and fault in ("stale", "blind"):
                    content = without_newest(content, hint=fault == "blind")
                connection.close()
                if fault == "lost after":
                    self.close_connection = True
                elif fault == "500 after":
                    self.answer(500, {}, b"<Error><Code>Injected</Code></Error>")
                else:
                    self.answer(response.status, found, content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

            def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                length = headers.get("Content-Length", headers.get("content-length", "0"))
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that gave up
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self, fault: Callable[[int, str, str], str | None] = lambda *_: None) -> None:
        with self.lock:
            self.requests, self.fault, self.page = [], fault, None


def without_newest(listing: bytes, *, hint: bool) -> bytes:
    """Return a listing's XML without the newest manifest in it, and without the version hint if that is to go, too."""
    entries = re.findall(rb"<Contents>.*?</Contents>", listing, re.DOTALL)
    manifests = [own for own in entries if re.search(rb"manifests/\d{12}\.json", own)]
    gone = sorted(manifests)[-1:] + [own for own in entries if hint and b"manifests/latest.json" in own]
    for own in gone:
        listing = listing.replace(own, b"")
    return listing


def objects_of(url: str) -> dict[str, bytes]:
    """Return the content of each object of an index, by name."""
    from nagindex.stores.objects import ObjectStore

    store = ObjectStore(url)
    return {found.name: store.get(found.name)[0] for found in store.listing()}
