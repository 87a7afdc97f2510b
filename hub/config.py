"""Frozen settings from `hub.toml`, `HUB_*` variables and flags, and the location of the state folder."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from hub.api import Model
from hub.errors import BadConfig, first_problem
from hub.keys import hash_key

__all__ = [
    "BlobSettings",
    "CatalogSettings",
    "FeedbackSettings",
    "LimitSettings",
    "PluginSettings",
    "ServeSettings",
    "Settings",
    "child_environment",
    "find_home",
    "find_workspace",
    "load_settings",
    "restore_settings",
]

CONFIG_FILE = "hub.toml"
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


class LimitSettings(Model):
    """Limits of requests and connections."""

    body_bytes: int = Field(2_000_000, gt=0, description="Maximum size of a request body, in bytes.")
    items: int = Field(256, gt=0, description="Maximum items in one predict call.")
    rows: int = Field(512, gt=0, description="Maximum model rows of one request.")
    queued_rows: int = Field(4096, gt=0, description="Rows waiting for the engine before 429.")
    timeout_s: float = Field(
        60.0, gt=0, description="Maximum time from a complete request to its answer, in seconds."
    )
    body_s: float = Field(30.0, gt=0, description="Time in which the body must arrive, in seconds.")
    header_s: float = Field(10.0, gt=0, description="Time in which all headers must arrive, in seconds.")
    idle_s: float = Field(
        75.0, gt=0, description="Time after which an idle connection is closed, in seconds."
    )
    header_bytes: int = Field(
        32_768, ge=1024, description="Maximum size of request line and headers, in bytes."
    )
    headers: int = Field(100, ge=16, description="Maximum headers in one request.")
    connections: int = Field(1000, ge=1, description="Maximum open connections of one serving process.")
    plugin_timeout_s: float = Field(
        15.0, gt=0, description="Time limit of a plugin's encode, decode or stream for one call, in seconds."
    )


class ServeSettings(Model):
    """Settings of the server."""

    host: str = Field("127.0.0.1", description="Address to bind; beyond loopback, keys are required.")
    port: int = Field(3000, ge=0, le=65535)
    engine: Literal["auto", "onnx", "onnx-int8", "torch", "torch-bf16", "fake"] = "auto"
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    slots: int = Field(32, ge=1, le=100_000, description="Adapters resident at once on each base.")
    max_rank: int = Field(
        256, ge=1, description="Maximum LoRA rank of an adapter that is imported or deployed."
    )
    threads: int = Field(
        0, ge=0, description="Threads of one forward pass; 0: all cores, divided among the replicas."
    )
    adapter_cache_mb: int = Field(
        256,
        ge=0,
        description="Memory for the cache of loaded adapters.",
    )
    batch_rows: int = Field(64, gt=0, description="Maximum rows in one forward pass.")
    generate_rows: int = Field(
        32, ge=1, le=1024, description="Texts or beams generated at once on each base."
    )
    generate_mb: int = Field(
        2000, ge=1, description="Memory for the keys and values of generated texts on each base."
    )
    generate_prefix_mb: int = Field(
        256,
        ge=0,
        description="Memory on each base for the beginnings of texts, which are not computed again.",
    )
    poll_ms: int = Field(
        250, gt=0, description="Interval at which the catalog is polled for changes, in milliseconds."
    )
    load_timeout_s: float = Field(
        30.0, gt=0, description="Maximum time to wait for an adapter to load, in seconds."
    )
    explain: bool = Field(
        False,
        description="Enable /v1/deployments/NAME/explain, which takes seconds of all cores for each call.",
    )
    replicas: int = Field(1, ge=1, le=64, description="Serving processes; each holds a copy of the bases.")
    admin_key: str = Field(
        "",
        repr=False,
        description="Key for /admin, at least 16 characters, or its hash; empty: a local key is created.",
    )
    api_keys: tuple[str, ...] = Field(
        (),
        repr=False,
        description="Keys for inference, or their hashes (`hub keys hash`); empty: no key is needed.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names under which clients may reach the server; empty: loopback names if bound to "
        "loopback, else any name.",
    )

    @field_validator("admin_key")
    @classmethod
    def _check_admin_key(cls, key: str) -> str:
        if key:
            hash_key(key)
        return key

    @field_validator("api_keys")
    @classmethod
    def _hash_api_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Store hashes only: keys are only compared."""
        hashed = tuple(_check_item(hash_key, number, key) for number, key in enumerate(keys, start=1))
        if len(set(hashed)) < len(hashed):
            raise ValueError("a key is listed twice; give each client its own key")
        return hashed

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_check_item(_host, number, host) for number, host in enumerate(hosts, start=1))

    @model_validator(mode="after")
    def _check_roles(self) -> ServeSettings:
        if self.admin_key and hash_key(self.admin_key) in self.api_keys:
            raise ValueError("serve.admin_key is one of serve.api_keys; use another key for administration")
        return self


class CatalogSettings(Model):
    """The database of versions, deployments and their history."""

    url: str = Field(
        "", repr=False, description="postgresql://...; empty: a SQLite file in the home, for one machine."
    )


class FeedbackSettings(Model):
    """Storage of answers for comparison with the ground truth; off by default."""

    keep: Literal["nothing", "answers", "texts"] = Field(
        "nothing", description="answers: store answers by request id; texts: store the requests as well."
    )
    days: float = Field(30, gt=0, description="Maximum age of stored answers and their feedback, in days.")
    rows: int = Field(
        100_000, gt=0, description="Maximum number of stored answers; the oldest are deleted first."
    )
    megabytes: int = Field(
        1_000, gt=0, description="Maximum size of stored answers and requests; the oldest are deleted first."
    )


class BlobSettings(Model):
    """The storage of adapter files."""

    blobs: str = Field(
        "",
        repr=False,
        description="An fsspec URL such as s3://bucket/hub; empty: a folder in the home, for one machine.",
    )


class PluginSettings(Model):
    """The plugin host."""

    disabled: tuple[str, ...] = Field((), description="Plugins that are never imported.")


class Settings(BaseSettings):
    """All settings; read with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="HUB_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: Path
    serve: ServeSettings = ServeSettings()
    limits: LimitSettings = LimitSettings()
    plugins: PluginSettings = PluginSettings()
    catalog: CatalogSettings = CatalogSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    store: BlobSettings = BlobSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


class _Explicit(Settings):
    """Settings that ignore HUB_* variables, so that flags override them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def find_workspace(start: Path | None = None) -> Path | None:
    """Return the nearest folder at or above `start` (default: the working folder) with a hub.toml."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / CONFIG_FILE).is_file()), None)


def child_environment() -> dict[str, str]:
    """Return the environment for child processes, with HUB_HOME as the only HUB_* variable.

    The others may hold keys and passwords, and children run third-party code: plugins, builds by pip.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("HUB_") or name == "HUB_HOME"
    }


def find_home(start: Path | None = None) -> Path:
    """Return the state folder: HUB_HOME, else `.hub` beside hub.toml, else the user's data folder."""
    if explicit := os.environ.get("HUB_HOME"):
        return Path(explicit).expanduser().resolve()
    if workspace := find_workspace(start):
        return workspace / ".hub"
    return user_data_path("grafthub", appauthor=False)


def load_settings(start: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Read hub.toml, then HUB_* variables, then `flags` (nested like the file).

    Raises:
        BadConfig: the file is not TOML, or a key or value is invalid; the message has the key.
    """
    workspace = find_workspace(start)
    from_file = _read_toml(workspace / CONFIG_FILE) if workspace else {}
    from_file["home"] = find_home(start)
    where = f"{workspace / CONFIG_FILE} or a HUB_* variable" if workspace else "a HUB_* variable"
    try:
        settings = Settings(**from_file)
        where = "a flag"
        return _Explicit(**_merge(settings.model_dump(), flags)) if flags else settings
    except ValidationError as error:
        key, reason = first_problem(error, "")
        raise BadConfig(f"Setting {key!r} in {where}: {reason}.") from None
    except SettingsError as error:  # a list in a variable; the message has the section and no value
        section = re.search(r'field "(\w+)"', str(error))
        name = f"HUB_{section[1].upper()}__*" if section else "HUB_*"
        raise BadConfig(f'A variable {name} takes a list as JSON. Write \'["...", "..."]\'.') from None


def restore_settings(dumped: str) -> Settings:
    """Parse the output of `Settings.model_dump_json`, without reading files or HUB_* variables."""
    return _Explicit.model_validate_json(dumped)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not valid TOML: {error}.") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _merge(base.get(key, {}), value) for key, value in over.items() if isinstance(value, dict)}
    return {**base, **over, **nested}


def _check_item(check: Callable[[str], str], number: int, value: str) -> str:
    """Apply `check` to one value of a list; the error has its number."""
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"number {number}: {error}") from None


def _host(host: str) -> str:
    if host != "*" and not _HOST.fullmatch(host):
        raise ValueError("write a host name or an address, without a scheme, port, path or brackets")
    return host.lower().rstrip(".")
