"""A child program that builds, changes or reads an index through the public library, and can die at any step that touches the disk.

    python tests/crash/driver.py MODEL build CORPUS INDEX [--die-at K] [--after]
    python tests/crash/driver.py MODEL serve

A commit step is a call that makes, forces, publishes or removes a file or folder. With --die-at the process kills itself just
before (with --after: just after) the K-th one. `serve` loads the model once and forks a child for each request, a JSON line on
stdin, so that hundreds of kills cost one start of torch. All hooks live here; the library has none.
"""

from __future__ import annotations

import argparse
import builtins
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import shim

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

WINDOW = 8
SEGMENT_DOCUMENTS = 16
TOP_K = 6
SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "an index holds what was encoded once",
    "rivers carry sand to the sea",
    "def add(a, b): return a + b",
)


class Steps:
    """Counts commit steps, notes them where asked to, and kills this process at one of them."""

    def __init__(self, die_at: int | None, *, after: bool, trace: bool = False) -> None:
        self.die_at, self.after, self.count = die_at, after, 0
        self.trace: list[list[str]] | None = [] if trace else None

    @contextmanager
    def step(self, name: str, *about: Any) -> Iterator[None]:
        self.count += 1
        here = self.count == self.die_at
        if here and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trace is not None:
            self.trace.append([name, *map(_path_of, about)])
        try:
            yield
        finally:
            if here:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(self, name: str, function: Callable[..., Any], *, paths: int = 1) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            with self.step(name, *args[:paths]):
                return function(*args, **named)

        return call

    def install(self) -> None:
        """Watch every call by which the library, or what it calls in Python, changes the disk."""
        os.link, os.replace = self.watched("link", os.link, paths=2), self.watched("replace", os.replace, paths=2)
        for name in ("fsync", "unlink", "remove", "mkdir", "rmdir"):
            setattr(os, name, self.watched(name, getattr(os, name)))
        plain = builtins.open

        def opened(file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
            if not set(mode) & set("xwa+"):
                return plain(file, mode, *args, **named)
            with self.step("create", file):
                return plain(file, mode, *args, **named)

        builtins.open = opened
        from nagindex.storage import segment

        segment.write_table = self.watched("table", segment.write_table)  # DuckDB creates it, out of Python's sight


def _path_of(about: Any) -> str:
    return os.readlink(f"/proc/self/fd/{about}") if isinstance(about, int) else str(about)


def make_model(folder: Path) -> None:
    """Save a random two-layer model, the same on every call, with a byte-level BPE tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model, logging

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(vocab_size=320, special_tokens=["<pad>"], initial_alphabet=alphabet, show_progress=False),
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
    )
    Qwen3Model(config).save_pretrained(folder, safe_serialization=True)


def load(model: Path) -> Any:
    """Return the model as a backbone, in a process that is fit to fork: one thread, all imported, nothing opened, no bf16 measured."""
    import torch

    import nagindex
    from nagindex.backbone.load import load_backbone

    for module in pkgutil.walk_packages(nagindex.__path__, "nagindex."):
        importlib.import_module(module.name)
    torch.set_num_threads(1)
    if not model.exists():
        make_model(model)
    return load_backbone(str(model), device="cpu", dtype="fp32")


def perform(request: dict[str, Any], backbone: Any) -> dict[str, Any]:
    """Do what a request asks and return what there is to say: steps, trace, and the operation's own figures."""
    import nagindex
    from nagindex.storage.manifest import read_latest

    shrink(request.get("segment_documents", SEGMENT_DOCUMENTS))
    path = Path(request["index"])
    steps = Steps(request.get("die_at"), after=request.get("after", False), trace=request.get("trace", False))
    if request["op"] == "read":
        return read(path, request)
    if request["op"] == "faulted":
        return shim.run_command(request)
    steps.install()
    done: dict[str, Any] = {}
    if request["op"] == "build":
        columns = nagindex.Columns(keep_columns=("label",))
        options = {"preset": "paper", "top_k": TOP_K, "columns": columns, "on_error": "skip"} | request.get(
            "options", {}
        )
        _, report = nagindex.build(request["corpus"], path, backbone=backbone, **options)
        done = vars(report)
    else:
        index = nagindex.Index(path, read_latest(path), backbone=backbone)
        if request["op"] == "append":
            done = vars(
                index.append(request["corpus"], on_duplicate=request.get("on_duplicate", "skip"), on_error="skip")
            )
        elif request["op"] == "delete":
            done = {"removed": index.delete(where=request["where"])}
        elif request["op"] == "compact":
            index.compact()
        elif request["op"] == "vacuum":
            done = vars(index.vacuum(grace=0))
        else:
            raise ValueError(request["op"])
    return done | {"steps": steps.count, "trace": steps.trace}


def shrink(segment_documents: int) -> None:
    """Make windows and new segments small, so that one short build is many commits."""
    from nagindex.encode import encoder
    from nagindex.ingest import writer

    encoder.WINDOW["cpu"] = WINDOW
    writer.SEGMENT_DOCUMENTS = segment_documents


def read(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Open, read and query an index over and over until a file appears; return how often, and every failure.

    Whatever is read must be a prefix of the unbroken build, and what was pinned once must read the same for ever.
    """
    import numpy as np

    from nagindex.errors import InputNotFoundError
    from nagindex.index import Index

    expected = np.load(request["codes"])
    ids = json.loads(Path(request["ids"]).read_text())
    stop, parent = Path(request["stop"]), os.getppid()
    pinned: list[Index] = []
    reads, versions, failures = 0, set(), []

    def check(index: Index) -> None:
        codes = np.concatenate([expected[:0], *index.codes])
        if not np.array_equal(codes, expected[: len(codes)]):
            raise AssertionError(f"{index}: codes differ from the unbroken build's")
        if [row[0] for row in index.sql("SELECT id FROM docs ORDER BY _segment, _position").fetchall()] != ids[
            : len(codes)
        ]:
            raise AssertionError(f"{index}: ids differ from the unbroken build's")

    while not stop.exists() and os.getppid() == parent:
        try:
            try:
                index = Index.open(path)
            except InputNotFoundError:
                if pinned:
                    raise
                time.sleep(0.002)
                continue
            if not pinned or index.manifest.version > pinned[-1].manifest.version:
                pinned = [*pinned[:1], index]  # the first version seen, and the newest
            if index.manifest.version < pinned[-1].manifest.version:
                raise AssertionError(f"{index} after {pinned[-1]}: an older version became current")
            versions.add(index.manifest.version)
            for each in {id(index): index, id(pinned[0]): pinned[0]}.values():
                check(each)
            if len(index):
                best = index.query(expected[: min(3, len(index))], n=2, threads=1)
                if len(best) != min(2, len(index)):
                    raise AssertionError(f"{index}: {len(best)} documents selected")
            reads += 1
        except Exception:
            failures.append(traceback.format_exc()[-2000:])
    return {"reads": reads, "versions": len(versions), "failures": failures[:3], "failed": len(failures)}


def serve(backbone: Any) -> None:
    """Fork a child for each request on stdin; answer on stdout with its process id, and later with its end."""
    answers, pipes = os.fdopen(os.dup(1), "w"), {}
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "poll":
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer: dict[str, Any] = {"running": not pid}
            if pid:
                with os.fdopen(pipes.pop(pid)) as pipe:
                    said = pipe.read()
                answer |= {
                    "killed": os.WIFSIGNALED(status),
                    "status": os.waitstatus_to_exitcode(status),
                    "said": json.loads(said or "{}"),
                }
        else:
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reading)
                child(request, backbone, writing)
            os.close(writing)
            pipes[pid], answer = reading, {"pid": pid}
        print(json.dumps(answer), file=answers, flush=True)


def child(request: dict[str, Any], backbone: Any, writing: int) -> None:
    """Perform a request in a forked process and end that process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 0
    try:
        said = perform(request, backbone)
    except BaseException:
        said, status = {"error": traceback.format_exc()[-8000:]}, 1
    with os.fdopen(writing, "w") as pipe:
        pipe.write(json.dumps(said))
    os._exit(status)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the tiny model; made where it is missing")
    modes = parser.add_subparsers(dest="op", required=True)
    modes.add_parser("serve")
    build = modes.add_parser("build")
    build.add_argument("corpus")
    build.add_argument("index")
    build.add_argument("--die-at", type=int, metavar="K")
    build.add_argument("--after", action="store_true")
    arguments = parser.parse_args()
    backbone = load(arguments.model)
    if arguments.op == "serve":
        serve(backbone)
    else:
        print(json.dumps(perform(vars(arguments), backbone)))


if __name__ == "__main__":
    main()
