"""Files of the Hugging Face Hub are read by its own client, here from a server on this machine that answers as the Hub does."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

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
        asked: the method of each request and what it was for: the repository, a `tree`, `paths-info` or a file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuse: int | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(("GET", path.removeprefix(f"/api/{NAME}").removeprefix(f"/{NAME}/resolve/main/")))
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
                asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(("POST", path.removeprefix(f"/api/{NAME}/")))
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
    from huggingface_hub import constants, file_download

    fake = FakeHub()
    address = f"http://127.0.0.1:{fake.server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    for module in (constants, file_download):  # before 1.0, the second has a copy of its own
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
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


def test_a_folder_is_listed_once_however_many_files_are_in_it(dataset, hub):
    """Whether a file has changed is one request, and reading it asks for nothing but its content."""
    hub.files |= {f"many/{n}.jsonl": lines(n, n + 1) for n in range(30)}
    sources = nagindex.find_sources(f"{dataset}/many").sources
    assert [own for own in hub.asked if "tree" in own[1]] == [("GET", "/tree/main/many")]
    hub.asked.clear()
    for source in sources:
        assert source.path.current().entry == source.path.entry
        assert len([*read_documents(source)]) == 1
    assert [own for own in hub.asked if own[0] == "POST"] == [("POST", "paths-info/main")] * 30
    assert {own[1] for own in hub.asked if own[0] == "GET"} == {f"many/{n}.jsonl" for n in range(30)}


def test_what_was_not_there_is_found_once_it_is(dataset, hub):
    from nagindex.stores.remote_files import remote_file

    url = f"{dataset}/data/new.jsonl"
    assert remote_file(url) is None
    assert remote_file(f"{dataset}/data") is None
    hub.files["data/new.jsonl"] = lines(0, 1)
    assert remote_file(url).entry.size == len(lines(0, 1))
    gone = remote_file(url)
    del hub.files["data/new.jsonl"]
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        gone.read_bytes()
    hub.refuse = 401
    with pytest.raises(ObjectStoreError):
        remote_file(url)
    hub.refuse = None
    assert remote_file(f"{dataset}/data/test.jsonl") is not None


def test_the_metadata_of_saved_targets_is_read_once(dataset, hub, make_index, tmp_path):
    from nagindex.stores.remote_files import remote_file
    from nagindex.targets.saved import is_saved_nags, read_nags, write_nags

    index = make_index([("a", "a river"), ("b", "a mountain")])
    targets = index.encode(["a river", "the sea"])
    write_nags(tmp_path / "t.parquet", targets, index.manifest.fingerprint)
    hub.files["t.parquet"] = (tmp_path / "t.parquet").read_bytes()
    file = remote_file(f"{dataset}/t.parquet")
    hub.asked.clear()
    assert is_saved_nags(file)
    assert len(read_nags(file, index.manifest.fingerprint)) == 2
    assert hub.asked.count(("GET", "t.parquet")) == 2  # the metadata, and the rows
    assert len(hub.asked) <= 3  # the client lists a folder for its first file
    hub.files["t.parquet"] = b"PAR1" + bytes(len(hub.files["t.parquet"]) - 4)
    changed = remote_file(f"{dataset}/t.parquet")
    assert changed.entry.version != file.entry.version
    assert not is_saved_nags(changed)


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
