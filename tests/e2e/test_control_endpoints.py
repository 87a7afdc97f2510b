"""What another user of the machine can reach of a server: its port, and nothing else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace

import httpx
import psutil

from tests.e2e.conftest import Hub

ADMIN_KEY = "an-admin-key-that-nobody-may-read"
NOBODY = 65534
ATTACK = """
import json, os, socket, sys
pids, ports = json.loads(sys.argv[1])
got = []
"".encode("idna")  # imported now: the interpreter's files may not be readable for the other user
other = os.geteuid() == 0
if other:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
for pid in pids if other else ():
    for name in ("environ", "mem"):
        try:
            open(f"/proc/{pid}/{name}", "rb").read(1)
            got.append(f"{name} of {pid}")
        except OSError:
            pass
    try:
        os.kill(pid, 0)
        got.append(f"signal to {pid}")
    except OSError:
        pass
    if ADMIN_KEY in open(f"/proc/{pid}/cmdline").read():
        got.append(f"key in the command line of {pid}")
for port in ports:  # what circus answered with the environment of its workers, as ZMTP and as a browser sends
    for attack in (bytes.fromhex("ff00000000000000017f") + b'{"command": "options"}',
                   b'POST / HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 22\\r\\n\\r\\n{"command": "options"}'):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as door:
            door.sendall(attack)
            answer = door.recv(65536)
            if not answer.startswith(b"HTTP/1.1 4"):
                got.append(f"port {port}: {answer[:80]}")
print(json.dumps(got))
"""


def test_another_user_can_neither_control_nor_read_a_server(hub: Hub, monkeypatch) -> None:
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", ADMIN_KEY)
    hub = replace(hub, forked=False)  # the system shows the environment that a program was started with
    with hub.serving("--engine", "fake", "--replicas", "2") as client:
        supervisor = psutil.Process(json.loads((hub.home / "server.json").read_text())["pid"])
        workers = supervisor.children(recursive=True)
        processes = [supervisor, *workers]
        assert listening(processes) == {("TCP", client.base_url.port)}
        assert len(workers) == 2
        for worker in workers:
            assert ADMIN_KEY not in str(worker.environ()) + str(worker.cmdline())
        pids, ports = [one.pid for one in processes], [client.base_url.port]
        assert attack(pids, ports) == []
        key = {"authorization": f"Bearer {ADMIN_KEY}"}
        assert client.get("/admin/status", headers=key).status_code == 200, "the key reached the workers"
        assert httpx.get(f"{client.base_url}/admin/status").status_code == 401


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Return what the processes listen on: TCP ports, bound UDP ports, and named Unix sockets."""
    found: set[tuple[str, int]] = set()
    for process in processes:
        for one in process.net_connections("all"):
            if one.family == socket.AF_UNIX:
                found |= {("UNIX", 0)} if isinstance(one.laddr, str) and one.laddr else set()
            elif one.status == psutil.CONN_LISTEN:
                found.add(("TCP", one.laddr.port))
            elif one.type == socket.SOCK_DGRAM:
                found.add(("UDP", one.laddr.port))
    return found


def attack(pids: list[int], ports: list[int]) -> list[str]:
    """Attack as another user, or the ports alone if this user may not become another; return the loot."""
    code = f"ADMIN_KEY, NOBODY = {ADMIN_KEY!r}, {NOBODY}\n{ATTACK}"
    command = [sys.executable, "-I", "-c", code, json.dumps([pids, ports])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))
