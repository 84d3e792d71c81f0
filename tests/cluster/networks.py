"""Nodes of a Ray cluster in network namespaces of their own, joined by a bridge, whose links can be cut.

Each node sees the same files but its own folder of Ray's, and its own processes alone, among which Ray looks for the node of a driver.
Everything ends with the processes that hold the namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shlex import quote

from clusters import LIMIT, QUIET

HEAD, WORKER, DRIVER = NODES = ("head", "worker", "driver")
PORT = 6379
RAYS_FOLDER = Path(tempfile.gettempdir(), "ray")
"""Where Ray keeps sockets, logs and the address of the cluster that runs on a machine."""
MOUNT = "mount -t tmpfs none"
TOOLS = ("unshare", "nsenter", "ip", "mount")
ENVIRONMENT = QUIET | {
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_grpc_client_keepalive_time_ms": "1000",
    "RAY_grpc_client_keepalive_timeout_ms": "3000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_gcs_server_request_timeout_seconds": "5",
    "RAY_gcs_rpc_server_connect_timeout_s": "2",
}
"""A node that is cut off gives up after seconds, and not after a minute."""


UNSHARED = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def reason_against() -> str | None:
    """Return why there can be no namespaces here; None where there can."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}"
    links = "ip link add one type veth peer name two && ip link add bridge type bridge"
    script = f"{links} && {MOUNT} {quote(tempfile.gettempdir())}"
    tried = subprocess.run([*UNSHARED, "sh", "-c", script], capture_output=True, text=True)
    return f"namespaces are not permitted: {tried.stderr.strip()}" if tried.returncode else None


class Network:
    """Three nodes: the head and a worker with a CPU each, and a driver's without; a context that ends them.

    Attributes:
        address: HOST:PORT of the head.
    """

    def __init__(self, logs: Path) -> None:
        self.logs, self.address = logs, f"{_address(HEAD)}:{PORT}"
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Network:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        RAYS_FOLDER.mkdir(exist_ok=True)
        for name in ("switch", *NODES):
            script = f"ip link set lo up && {MOUNT} {quote(str(RAYS_FOLDER))} && echo ready && exec sleep infinity"
            holder = subprocess.Popen([*UNSHARED, "sh", "-c", script], stdout=subprocess.PIPE)
            self._holders[name] = holder
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
        self._ip("switch", "link add bridge type bridge")
        self._ip("switch", "link set bridge up")
        for name in NODES:
            self._ip("switch", f"link add {name} type veth peer name eth0 netns {self._first(name)}")
            self._ip("switch", f"link set {name} master bridge up")
            self._ip(name, f"address add {_address(name)}/24 dev eth0")
            self._ip(name, "link set eth0 up")
        for name in NODES:
            self.start_node(name)

    def __exit__(self, *_: object) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.communicate()
        for process in self._started:
            process.wait()

    def start_node(self, name: str) -> None:
        """Start Ray in the namespace of a node."""
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        place = (
            ["--head", f"--port={PORT}", "--include-dashboard=false"] if name == HEAD else [f"--address={self.address}"]
        )
        limits = [f"--num-cpus={int(name != DRIVER)}", f"--object-store-memory={80 << 20}", "--disable-usage-stats"]
        node = [f"--node-ip-address={_address(name)}", "--block"]
        log = (self.logs / f"{name}.log").open("a")
        before = _lines(self.logs / f"{name}.log", "Ray runtime started")
        command = [*self.inside(name), *ray, "start", *place, *node, *limits]
        environment = os.environ | ENVIRONMENT
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        self._started.append(process)
        log.close()
        ready = time.monotonic() + LIMIT
        while _lines(self.logs / f"{name}.log", "Ray runtime started") == before:
            said = (self.logs / f"{name}.log").read_text()[-3000:]
            assert process.poll() is None, said
            assert time.monotonic() < ready, said
            time.sleep(0.2)

    def inside(self, name: str) -> list[str]:
        """Return what starts a command in the namespaces of a node."""
        return ["nsenter", "-t", self._first(name), "--net", "--mount", "--pid", f"--wdns={os.getcwd()}"]

    def cut(self, name: str) -> None:
        """Take a node's link down."""
        self._ip("switch", f"link set {name} down")

    def join(self, name: str) -> None:
        """Bring a node's link up again."""
        self._ip("switch", f"link set {name} up")

    def _ip(self, name: str, command: str) -> None:
        inside = ["nsenter", "-t", self._first(name), "--net", "ip", *command.split()]
        subprocess.run(inside, check=True, capture_output=True)

    def _first(self, name: str) -> str:
        """Return the id of the first process in the namespaces of a node, with which all others end."""
        holder = self._holders[name].pid
        return Path(f"/proc/{holder}/task/{holder}/children").read_text().strip()


def _address(name: str) -> str:
    return f"198.51.100.{NODES.index(name) + 1}"  # reserved for documentation


def _lines(path: Path, words: str) -> int:
    return path.read_text().count(words) if path.exists() else 0
