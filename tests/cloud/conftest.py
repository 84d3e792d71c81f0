"""An S3 server on this machine, and a proxy before it that counts requests and makes them fail."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stores import BUCKET, SECRET, WORDS, Proxy

INSTALLED = all(importlib.util.find_spec(name) is not None for name in ("obstore", "moto", "flask"))
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]


@pytest.fixture(scope="session")
def s3() -> Iterator[Proxy]:
    """The proxy before moto, or before the server at the port of NAGINDEX_TEST_S3_PORT, which has the bucket and the credentials."""
    if running := os.environ.get("NAGINDEX_TEST_S3_PORT"):
        yield Proxy(int(running))
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        proxy = Proxy(port)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()
        yield proxy
        proxy.server.shutdown()
        proxy.server.server_close()
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def proxy(s3: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy, and an environment in which nagindex finds it, with an empty cache and short pauses."""
    from nagindex.stores import objects

    environment = {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": "kLidentity",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "NAGINDEX_CACHE": str(tmp_path / "cache"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(objects, "TIMEOUT", 5.0)
    s3.reset()
    yield s3
    s3.reset()


@pytest.fixture
def url(proxy: Proxy) -> str:
    """The URL of an index that does not exist yet."""
    return f"s3://{BUCKET}/{random.randbytes(6).hex()}/pool.nagindex"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Return f(): from then on, this process has an empty cache, as another machine has."""

    def move() -> None:
        monkeypatch.setenv("NAGINDEX_CACHE", str(tmp_path / f"cache-{random.randbytes(4).hex()}"))

    return move


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Return f(name, start, stop): a file of documents with ids from start."""

    def write(name: str, start: int, stop: int) -> Path:
        generator = random.Random(start)
        lines = [{"id": f"d{i}", "text": " ".join(generator.choices(WORDS, k=12))} for i in range(start, stop)]
        path = tmp_path / "corpus" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write
