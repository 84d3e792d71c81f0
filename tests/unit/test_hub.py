"""Files of the Hugging Face Hub are read by its own client, here from a server on this machine that answers as the Hub does."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

import nagindex
from nagindex.corpus.reading import read_documents
from nagindex.errors import InputNotFoundError, ObjectStoreError, SourceChangedError

TOKEN = "hf_kLsecretTOKEN0123456789"
NAME = "datasets/org/texts"


class FakeHub:
    """A data set `org/texts`, as the Hub shows it.

    Attributes:
        files: content by name.
        refuse: the status of every answer, in place of files.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refuse: int | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = unquote(urlsplit(self.path).path)
                if hub.refuse is not None:
                    self.answer(hub.refuse, b"{}")
                elif path.startswith(f"/api/{NAME}/tree/main"):
                    below = path.removeprefix(f"/api/{NAME}/tree/main").strip("/")
                    every = "recursive=true" in self.path.lower()
                    self.answer(200, json.dumps(hub.entries(below, every=every)).encode())
                elif path.startswith(f"/api/{NAME}"):
                    self.answer(200, json.dumps({"id": "org/texts", "sha": "0" * 40, "siblings": []}).encode())
                elif path.startswith(f"/{NAME}/resolve/main/"):
                    self.content(path.removeprefix(f"/{NAME}/resolve/main/"))
                else:
                    self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
                path = unquote(urlsplit(self.path).path)
                if hub.refuse is not None:
                    self.answer(hub.refuse, b"{}")
                elif not path.startswith(f"/api/{NAME}/"):
                    self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                else:
                    found = [own for own in hub.entries("", every=True) if own["path"] in asked]
                    self.answer(200, json.dumps(found).encode())

            def content(self, name):
                if name not in hub.files:
                    self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                    return
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                content = hub.files[name]
                part = content[int(first) : int(last) + 1]
                self.answer(206, part, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"})

            def answer(self, status, content, headers=None):
                self.send_response(status)
                for key, value in (headers or {}).items():
                    self.send_header(key, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def entries(self, below, *, every):
        """Return files and folders as the Hub lists them."""
        found = {}
        for name, content in self.files.items():
            if below and not name.startswith(f"{below}/"):
                continue
            rest = name.removeprefix(below).lstrip("/")
            oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            folders = name.split("/")[:-1]
            for depth in range(len(folders)):
                folder = "/".join(folders[: depth + 1])
                if len(folder) > len(below) and (every or "/" not in folder.removeprefix(below).lstrip("/")):
                    found[folder] = {"type": "directory", "oid": "1" * 40, "size": 0, "path": folder}
            if every or "/" not in rest:
                found[name] = {"type": "file", "oid": oid, "size": len(content), "path": name}
        return list(found.values())


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    fake = FakeHub()
    address = f"http://127.0.0.1:{fake.server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    yield fake
    huggingface_hub.HfFileSystem.clear_instance_cache()
    fake.server.shutdown()
    fake.server.server_close()


def lines(start, stop):
    return "".join(json.dumps({"id": f"h{i}", "text": f"river number {i}"}) + "\n" for i in range(start, stop)).encode()


@pytest.fixture
def dataset(hub, tmp_path):
    import duckdb

    duckdb.sql("SELECT 'p' || i AS id, 'mountain ' || i AS text FROM range(3000) t(i)").write_parquet(
        str(tmp_path / "p")
    )
    hub.files = {
        "data/train/a.jsonl": lines(0, 20),
        "data/train/deep/b.parquet": (tmp_path / "p").read_bytes(),
        "data/test.jsonl": lines(50, 52),
        "README.md": b"a card",
    }
    return f"hf://{NAME}"


def test_files_of_a_data_set_are_found_and_read(dataset, tmp_path):
    assert [source.name for source in nagindex.find_sources(dataset).sources] == [
        "data/test.jsonl", "data/train/a.jsonl", "data/train/deep/b.parquet",
    ]  # fmt: skip
    assert [source.name for source in nagindex.find_sources(f"{dataset}/data/train").sources] == [
        "a.jsonl",
        "deep/b.parquet",
    ]
    assert [source.name for source in nagindex.find_sources(f"{dataset}/data/*.jsonl").sources] == ["test.jsonl"]
    [one, table] = nagindex.find_sources(f"{dataset}/data/train").sources
    assert [document.id for document in read_documents(one)] == [f"h{i}" for i in range(20)]
    assert [document.text for document in read_documents(table)] == [f"mountain {i}" for i in range(3000)]
    assert one.path.entry.version


def test_an_index_of_it_is_built_appended_to_and_reads_texts_again(dataset, hub, tmp_path, tiny_backbone):
    index, report = nagindex.build(f"{dataset}/data", tmp_path / "i", backbone=tiny_backbone, preset="paper")
    assert report.documents == 3022
    assert index.append(f"{dataset}/data").already_in == 3
    assert index.texts(["h3", "p7"]) == {"h3": "river number 3", "p7": "mountain 7"}
    hub.files["data/train/a.jsonl"] = lines(0, 19)
    with pytest.raises(SourceChangedError, match=f"{dataset}/data/train/a.jsonl: the source has changed"):
        index.texts(["h3"])


def test_a_file_that_changes_while_it_is_read_stops_the_build(dataset, hub, tmp_path, tiny_backbone, monkeypatch):
    from nagindex.stores.hub import Hub

    real = Hub.read

    def read(self, entry, start, stop):
        content = real(self, entry, start, stop)
        if entry.url.endswith("a.jsonl"):
            hub.files["data/train/a.jsonl"] = lines(100, 120)
        return content

    monkeypatch.setattr(Hub, "read", read)
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        nagindex.build(f"{dataset}/data/train/a.jsonl", tmp_path / "i", backbone=tiny_backbone, preset="paper")


@pytest.mark.parametrize("status", [401, 403])
def test_what_the_hub_refuses_is_said_in_one_line(status, dataset, hub):
    hub.refuse = status
    with pytest.raises(
        ObjectStoreError, match=rf"{dataset}/data: the Hugging Face Hub refuses \(HTTP {status}\)"
    ) as raised:
        nagindex.find_sources(f"{dataset}/data")
    assert TOKEN not in str(raised.value)


def test_what_is_not_there_is_said_in_one_line(dataset, hub):
    for url in (f"{dataset}/nothing", "hf://datasets/org/other", f"{dataset}/data/*.csv"):
        with pytest.raises(InputNotFoundError, match="no such file or folder"):
            nagindex.find_sources(url)


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    with pytest.raises(ObjectStoreError, match=f"hf://{NAME}: the Hugging Face Hub does not answer"):
        nagindex.find_sources(f"hf://{NAME}")
