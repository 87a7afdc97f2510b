"""What a server says of a disk that is full."""

from __future__ import annotations

import logging

from hub.client import server_file
from hub.serving import disk
from hub.serving.disk import Disk
from hub.store.change import Deploy


def test_a_full_disk_is_said_once_and_so_is_its_end(tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    watched = Disk(tmp_path)
    for free in (0, 4096, 1 << 40, 1 << 40):
        monkeypatch.setattr(disk, "free_bytes", lambda home, free=free: free)
        watched.check()
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "INFO"]
    assert "is full" in caplog.text


def test_the_status_names_it_for_as_long_as_it_lasts(start, add, monkeypatch) -> None:
    hub = start(url="")
    add("mood", seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert hub.runtime.status()["disk"]["error"] == ""
    monkeypatch.setattr(disk, "free_bytes", lambda home: 0)
    assert "is full" in hub.runtime.status()["disk"]["error"]
    assert hub.ask("mood", "a film").scores


def test_a_server_without_room_for_its_record_serves(tmp_path, monkeypatch, caplog) -> None:
    def no_space(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hub.client.server_file.write_file", no_space)
    server_file.keep(tmp_path, "http://127.0.0.1:9", 1)
    assert "--server http://127.0.0.1:9" in caplog.text
    assert list(tmp_path.iterdir()) == []
