"""All sections, and how they are read from `hub.toml`, `HUB_*` variables and flags."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from hub.config.catalog import CatalogSettings
from hub.config.feedback import FeedbackSettings
from hub.config.home import CONFIG_FILE, find_home, find_workspace, whole_path
from hub.config.jobs import JobSettings
from hub.config.limits import LimitSettings
from hub.config.log import LogSettings
from hub.config.metrics import MetricSettings
from hub.config.plugins import PluginSettings
from hub.config.ray import RaySettings
from hub.config.serve import ServeSettings
from hub.config.store import BlobSettings
from hub.errors import BadConfig, first_problem


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
    metrics: MetricSettings = MetricSettings()
    log: LogSettings = LogSettings()
    jobs: JobSettings = JobSettings()
    ray: RaySettings = RaySettings()

    @field_validator("home")
    @classmethod
    def _whole_home(cls, home: Path) -> Path:
        """Return what `find_home` does: HUB_HOME is also read as a variable like the others."""
        return whole_path(home)

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
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not valid TOML: {error}.") from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _merge(base.get(key, {}), value) for key, value in over.items() if isinstance(value, dict)}
    return {**base, **over, **nested}
