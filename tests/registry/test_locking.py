"""Installations from a folder of wheels into an environment of the test, the lock, and the policy."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path
from zipfile import ZipFile

import pytest

from hub.config import PluginSettings
from hub.errors import BadPlugin, Conflict, HashMismatch, LibraryPinned, NotFound, PluginNotAllowed
from hub.registry.discovery import PluginStatus, find_plugins
from hub.registry.install import install as installing
from hub.registry.install import pip
from hub.registry.install.install import Installed, install, uninstall
from hub.registry.install.installer import find_uv
from hub.registry.install.locking import kept_wheels, lock, record, sync
from hub.registry.install.pins import Environment
from hub.registry.install.pip import run_installer
from hub.registry.install.plan import PlannedPackage, PluginPlan
from hub.registry.install.wheel import WheelFile
from hub.registry.lock import LOCK_FILE, LockedPackage, files_digest, read_lock, write_lock
from hub.registry.policy import refusals
from tests.support.environment import fresh_environment
from tests.support.preloaded import PYTHON
from tests.support.wheels import sha256, write_plugin_wheel, write_wheel

ALL = PluginSettings()
UV = find_uv()  # much faster than pip


def as_loaded(*_: object) -> list[PluginStatus]:
    """Take the place of the process that loads plugins, whose tests are in tests/cli."""
    return [plugin.status("ok") for plugin in find_plugins()]


def by_forked_pip(python: str, *words: str) -> tuple[bool, str]:
    """Let the pip of this Python, which can be forked, resolve and download; it sees the same packages."""
    changes = words[2] == "uninstall" or (words[2] == "install" and "--dry-run" not in words)
    return run_installer(python if changes else PYTHON, *words)


class Site:
    """An environment, an index in a folder, and a state folder."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self.links, self.home, self.packages = folder / "links", folder / "home", packages
        self.home.mkdir()

    def install(self, what: object, settings: PluginSettings = ALL, **options: bool) -> Installed:
        return install(str(what), home=self.home, settings=settings, **options)

    def locked(self) -> dict[str, str]:
        return {name: package.version for name, package in read_lock(self.home).items()}

    def installed(self, *names: str) -> dict[str, str]:
        importlib.invalidate_caches()
        found = {}
        for name in names:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_environment(tmp_path_factory.mktemp("environment") / "env")


@pytest.fixture
def site(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Let this process install into the environment of the module, which is empty again after each test."""
    packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(python.parents[1])}))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("PATH", str(Path(UV).parent))
    monkeypatch.setattr(installing, "probe", as_loaded)
    monkeypatch.setattr(pip, "run_installer", by_forked_pip)
    monkeypatch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
    site = Site(tmp_path, packages)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(site.links))
    before = set(packages.rglob("*"))
    yield site
    for path in sorted(set(packages.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def write_index(site: Site) -> None:
    """Write two versions of a library, and of a plugin that pins the old one and then needs the new one."""
    for number in ("1.0", "2.0"):
        write_wheel(site.links, "acme-lib", number, modules={"acme_lib.py": f"VERSION = {number!r}\n"})
    write_plugin_wheel(site.links, "acme-mail", "0.1", requires=["acme-lib==1.0"])
    write_plugin_wheel(site.links, "acme-mail", "0.2", requires=["acme-lib>=2"])


def test_a_plugin_moves_its_own_library_and_the_lock_follows(site: Site) -> None:
    write_index(site)
    done = site.install("acme-mail==0.1")
    assert [one.state for one in done.plugins] == ["ok"]
    assert site.locked() == {"acme-mail": "0.1", "acme-lib": "1.0"}
    plans: list[PluginPlan] = []
    install("acme-mail==0.2", home=site.home, dry_run=True, show=plans.append)
    planned = [(one.name, one.installed, one.version, one.pinned) for one in plans[0].packages]
    assert planned == [("acme-lib", "1.0", "2.0", False), ("acme-mail", "0.1", "0.2", False)]
    assert site.installed("acme-mail", "acme-lib") == {"acme-mail": "0.1", "acme-lib": "1.0"}
    site.install("acme-mail==0.2")
    assert site.locked() == {"acme-mail": "0.2", "acme-lib": "2.0"}
    entry = read_lock(site.home)["acme-lib"]
    assert entry.sha256 == sha256(site.links / entry.wheel)
    uninstall("acme-mail", site.home)
    assert site.locked() == {}
    site.install("acme-mail==0.1")
    assert site.installed("acme-mail", "acme-lib") == {"acme-mail": "0.1", "acme-lib": "1.0"}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_uv_installs_if_it_is_there_else_pip(site: Site, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tool == "pip":
        monkeypatch.setenv("PATH", "")
    elif not UV:
        pytest.skip("NOT TESTED with uv: it is not installed")
    write_index(site)
    site.install("acme-mail==0.1")
    installer = site.packages / "acme_mail-0.1.dist-info" / "INSTALLER"
    assert installer.read_text().strip() == tool
    assert refused(site, PluginSettings(locked=True)) == {}, "the files are those of the wheel"
    uninstall("acme-mail", site.home)
    assert not site.installed("acme-mail")


def test_a_broken_version_leaves_the_previous_one_in_place(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object) -> list[PluginStatus]:
        found = find_plugins()
        return [one.status("broken", "No.") if one.version == "0.2" else one.status("ok") for one in found]

    write_index(site)
    wheel = write_plugin_wheel(site.home.parent, "acme-mail", "0.1", requires=["acme-lib==1.0"])
    site.install(wheel)
    wheel.unlink()
    before = (site.home / LOCK_FILE).read_bytes()
    monkeypatch.setattr(installing, "probe", loaded)
    with pytest.raises(BadPlugin, match=r"0\.2 cannot be used: .* is broken: No\. 0\.1 is installed again"):
        site.install("acme-mail==0.2")
    assert site.installed("acme-mail", "acme-lib") == {"acme-mail": "0.1", "acme-lib": "1.0"}
    assert (site.home / LOCK_FILE).read_bytes() == before
    assert sync(site.home, ALL) == [], "the files are those of the lock"


def test_a_library_that_another_plugin_needs_as_it_is_stays(site: Site) -> None:
    write_index(site)
    write_plugin_wheel(site.links, "acme-other", requires=["acme-lib<2"])
    site.install("acme-other")
    with pytest.raises(Conflict, match=r"acme-other 1\.0 needs acme-lib<2.* Nothing was changed") as caught:
        site.install("acme-mail==0.2")
    assert caught.value.code == "conflict"
    assert site.installed("acme-mail", "acme-lib") == {"acme-lib": "1.0"}
    assert site.locked() == {"acme-other": "1.0", "acme-lib": "1.0"}


def test_a_library_of_the_hub_is_never_changed_and_the_plan_shows_it(site: Site) -> None:
    write_wheel(site.links, "pluggy", "0.13.1")
    write_plugin_wheel(site.links, "acme-old", requires=["pluggy<1"])
    plans: list[PluginPlan] = []
    with pytest.raises(LibraryPinned, match=r"acme-old 1\.0 depends on pluggy<1") as caught:
        install("acme-old", home=site.home, show=plans.append)
    assert caught.value.code == "library_pinned"
    assert [(one.name, one.pinned) for one in plans[0].packages] == [("acme-old", False), ("pluggy", True)]
    assert not site.installed("acme-old")
    assert not (site.home / LOCK_FILE).exists()


def test_what_the_hub_pins_are_its_dependencies_and_theirs_and_those_of_its_extras() -> None:
    pinned = Environment.read().pinned
    assert {"grafthub", "pydantic", "pydantic-core", "torch", "optuna", "sqlalchemy"} <= pinned.keys()
    assert "ruff" not in pinned, "a tool for working on the hub"


def test_sync_restores_exactly_what_is_locked(site: Site) -> None:
    write_index(site)
    site.install("acme-mail==0.1")
    before = (site.home / LOCK_FILE).read_text()
    site.install("acme-mail==0.2")
    write_plugin_wheel(site.links, "acme-other")
    site.install("acme-other")
    (site.home / LOCK_FILE).write_text(before)
    changes = sync(site.home, ALL, dry_run=True)
    assert {(one.name, one.installed, one.locked) for one in changes} == {
        ("acme-lib", "2.0", "1.0"),
        ("acme-mail", "0.2", "0.1"),
        ("acme-other", "1.0", ""),
    }
    assert sync(site.home, ALL) == changes
    assert site.installed("acme-mail", "acme-lib", "acme-other") == {"acme-mail": "0.1", "acme-lib": "1.0"}
    assert sync(site.home, ALL) == []
    module = site.packages / "acme_lib.py"
    module.write_text("VERSION = 'altered'\n")
    assert [one.name for one in sync(site.home, ALL)] == ["acme-lib"], "an altered file is restored"
    assert module.read_text() == "VERSION = '1.0'\n"


def test_sync_refuses_a_wheel_with_another_hash_and_changes_nothing(site: Site) -> None:
    wheel = write_plugin_wheel(site.links, "acme-mail")
    site.install("acme-mail")
    kept = kept_wheels(site.home) / wheel.name
    assert sha256(kept) == sha256(wheel)
    locked, content = (site.home / LOCK_FILE).read_text(), kept.read_bytes()
    uninstall("acme-mail", site.home)
    (site.home / LOCK_FILE).write_text(locked)
    kept.unlink()
    write_plugin_wheel(site.links, "acme-mail", extra="# not the same\n")
    with pytest.raises(HashMismatch, match=r"Expected sha256"):
        sync(site.home, ALL)
    shutil.copy(wheel, kept)
    with pytest.raises(HashMismatch, match=r"plugins\.lock has sha256:.* Nothing was changed"):
        sync(site.home, ALL)
    assert not site.installed("acme-mail")
    kept.write_bytes(content)
    sync(site.home, ALL)
    assert site.installed("acme-mail")


def test_of_two_installations_at_once_both_are_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(home: Path, packages: Mapping[str, LockedPackage]) -> None:
        time.sleep(0.2)
        write_lock(home, packages.values())

    def install_one(name: str) -> None:
        wheel = WheelFile(tmp_path / f"{name}-1-py3-none-any.whl", name, "1", "0" * 64, "", is_plugin=True)
        package = PlannedPackage(name, "1", "", wheel.sha256, f"https://index/{wheel.path.name}")
        record(tmp_path, [wheel], PluginPlan(name, "1", (package,), ()))

    monkeypatch.setattr("hub.registry.install.locking._write", slowly)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(install_one, ["one", "other"]))
    assert set(read_lock(tmp_path)) == {"one", "other"}


@pytest.mark.parametrize("record", ["a.py,sha256=x,much\n", "a.py,sha256=x,1,more,cells\n"])
def test_the_files_of_a_damaged_record_are_not_those_of_the_lock(tmp_path: Path, record: str) -> None:
    (tmp_path / "made-1.0.dist-info").mkdir()
    (tmp_path / "made-1.0.dist-info" / "RECORD").write_text(record)
    assert files_digest(Distribution.at(tmp_path / "made-1.0.dist-info")) == ""


def test_sync_without_a_lock_says_what_writes_one(site: Site) -> None:
    with pytest.raises(NotFound, match="hub plugins lock"):
        sync(site.home, ALL)


def test_lock_records_what_another_tool_installed_if_the_index_has_the_same_files(site: Site) -> None:
    write_index(site)
    site.install("acme-mail==0.1")
    complete = read_lock(site.home)
    (site.home / LOCK_FILE).unlink()
    found = {package.name: package for package in lock(site.home)}
    assert {name: one.sha256 for name, one in found.items()} == {
        name: one.sha256 for name, one in complete.items()
    }
    (site.home / LOCK_FILE).unlink()
    (site.packages / "acme_lib.py").write_text("VERSION = 'altered'\n")
    with pytest.raises(HashMismatch, match=r"installed files of acme-lib 1\.0 are not those"):
        lock(site.home)


def test_a_given_wheel_is_kept_and_one_of_the_same_version_with_other_content_replaces_it(
    site: Site, tmp_path: Path
) -> None:
    wheel = write_plugin_wheel(tmp_path / "given", "acme-mail")
    assert site.install(wheel).changed
    assert not site.install(wheel).changed
    write_plugin_wheel(tmp_path / "given", "acme-mail", extra="MORE = 1\n")
    assert site.install(wheel).changed
    assert "MORE = 1" in (site.packages / "acme_mail.py").read_text()
    assert read_lock(site.home)["acme-mail"].sha256 == sha256(kept_wheels(site.home) / wheel.name)
    (tmp_path / "given" / wheel.name).unlink()
    (site.packages / "acme_mail.py").unlink()
    assert [one.name for one in sync(site.home, ALL)] == ["acme-mail"]


def test_a_damaged_wheel_is_refused(site: Site, tmp_path: Path) -> None:
    wheel = tmp_path / "acme_mail-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(BadPlugin, match=r"acme_mail-1\.0-py3-none-any\.whl cannot be read"):
        site.install(wheel)
    good = write_plugin_wheel(tmp_path / "given", "acme-mail")
    renamed = good.rename(tmp_path / "acme_other-1.0-py3-none-any.whl")
    with pytest.raises(BadPlugin, match=r"its metadata are of acme-mail 1\.0"):
        site.install(renamed)


def allowing(*entries: str, **more: object) -> PluginSettings:
    return PluginSettings.model_validate({"policy": "allowlist", "allow": entries, **more})


def refused(site: Site, settings: PluginSettings) -> dict[str, str]:
    """Return what a registry would not load."""
    importlib.invalidate_caches()
    return refusals(find_plugins(), settings, site.home)


def test_the_allowlist_holds_when_installing_by_canonical_name_version_and_hash(site: Site) -> None:
    wheel = write_plugin_wheel(site.links, "acme-mail")
    with pytest.raises(PluginNotAllowed, match=r"acme-mail is not in plugins\.allow") as caught:
        site.install("Acme_Mail", allowing("other"))
    assert (caught.value.code, caught.value.status) == ("plugin_not_allowed", 403)
    with pytest.raises(PluginNotAllowed, match=r"does not permit version 1\.0 of acme-mail"):
        site.install("acme-mail", allowing("acme-mail==1.1"))
    with pytest.raises(PluginNotAllowed, match=rf"does not permit the hash .* sha256:{sha256(wheel)}"):
        site.install(wheel, allowing(f"acme-mail==1.0 --hash=sha256:{'0' * 64}"))
    with pytest.raises(PluginNotAllowed, match="No third-party plugin is permitted"):
        site.install("acme-mail", PluginSettings(policy="none"))
    assert not site.installed("acme-mail")
    assert site.install("acme-mail", allowing(f"ACME.Mail == 1.0 --hash=sha256:{sha256(wheel)}")).changed


def test_a_wheel_does_not_escape_the_allowlist_by_the_name_of_a_built_in_plugin(site: Site) -> None:
    wheel = write_plugin_wheel(site.links, "grafthub-qa", version("grafthub-qa"))
    with pytest.raises(PluginNotAllowed, match=r"grafthub-qa is not in plugins\.allow"):
        site.install(wheel, allowing("other"))
    assert not list(site.packages.glob("grafthub_qa*"))


def test_the_entry_point_of_a_stranger_does_not_escape_the_policy_by_the_name_of_a_built_in_one(
    site: Site, tmp_path: Path
) -> None:
    wheel = write_wheel(
        tmp_path, "acme-qa", "1.0", modules={"acme_qa.py": ""}, entry_points="[hub.tasks.v1]\nqa = acme_qa\n"
    )
    with ZipFile(wheel) as files:
        files.extractall(site.packages)  # as pip does
    for settings in (allowing("qa", "grafthub-qa"), PluginSettings(policy="none")):
        assert refused(site, settings).keys() == {"acme-qa"}


def test_a_plugin_that_comes_as_a_dependency_must_be_allowed_too(site: Site) -> None:
    write_plugin_wheel(site.links, "acme-second")
    write_plugin_wheel(site.links, "acme-mail", requires=["acme-second"])
    with pytest.raises(PluginNotAllowed, match=r"acme-second is not in plugins\.allow"):
        site.install("acme-mail", allowing("acme-mail"))
    assert not site.installed("acme-mail", "acme-second")


def test_the_allowlist_holds_again_when_plugins_are_loaded(site: Site) -> None:
    wheel = write_plugin_wheel(site.links, "acme-mail")
    site.install("acme-mail")
    assert refused(site, ALL) == {}
    assert "not in plugins.allow" in refused(site, allowing("other"))["acme-mail"]
    assert "version 1.0" in refused(site, allowing("acme-mail>1"))["acme-mail"]
    assert refused(site, allowing("acme-mail")) == {}
    hashed = allowing(f"acme-mail --hash=sha256:{sha256(wheel)}")
    assert refused(site, hashed) == {}
    assert (
        "the hash of acme-mail" in refused(site, allowing(f"acme-mail --hash=sha256:{'0' * 64}"))["acme-mail"]
    )
    (site.packages / "acme_mail.py").write_text("# altered\n")
    assert "Files of acme-mail 1.0 are not those" in refused(site, hashed)["acme-mail"]
    assert "Files of acme-mail 1.0 are not those" in refused(site, PluginSettings(locked=True))["acme-mail"]
    (site.home / LOCK_FILE).unlink()
    assert "plugins.lock does not have" in refused(site, PluginSettings(locked=True))["acme-mail"]
    (site.home / LOCK_FILE).write_text("{}")
    assert "is damaged" in refused(site, PluginSettings(locked=True))["acme-mail"]


def test_with_wheels_only_a_folder_is_neither_built_nor_loaded(site: Site, tmp_path: Path) -> None:
    only = PluginSettings(wheels_only=True)
    (tmp_path / "pyproject.toml").touch()
    with pytest.raises(PluginNotAllowed, match="is not a wheel"):
        site.install(tmp_path, only)
    write_plugin_wheel(site.links, "acme-mail")
    site.install("acme-mail", only)
    assert refused(site, only) == {}
    info = site.packages / "acme_mail-1.0.dist-info"
    (info / "direct_url.json").write_text('{"url": "file:///src", "dir_info": {"editable": true}}')
    assert "was not installed from a wheel" in refused(site, only)["acme-mail"]
    (info / "direct_url.json").unlink()
    locked = json.loads((site.home / LOCK_FILE).read_text())
    locked["packages"][0]["built"] = True
    (site.home / LOCK_FILE).write_text(json.dumps(locked))
    assert "was not installed from a wheel" in refused(site, only)["acme-mail"]
    with pytest.raises(PluginNotAllowed, match="built from source"):
        sync(site.home, only)


@pytest.mark.parametrize(
    "entry", ["", "acme @ https://x.org/a.whl", "acme; python_version>'3'", "acme[x]", "acme --hash=md5:00"]
)
def test_an_entry_that_is_no_name_version_and_hash_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not NAME, NAME==VERSION"):
        allowing(entry)
