"""Frozen settings from `hub.toml`, `HUB_*` variables and flags, and the location of the state folder."""

from hub.config.catalog import CatalogSettings
from hub.config.feedback import FeedbackSettings
from hub.config.home import CONFIG_FILE, child_environment, find_home, find_workspace
from hub.config.jobs import JobSettings
from hub.config.limits import LimitSettings
from hub.config.log import LogSettings
from hub.config.metrics import MetricSettings
from hub.config.plugins import AllowedPlugin, PluginSettings
from hub.config.ray import RaySettings
from hub.config.serve import ServeSettings
from hub.config.settings import Settings, load_settings, restore_settings
from hub.config.store import BlobSettings

__all__ = [
    "CONFIG_FILE",
    "AllowedPlugin",
    "BlobSettings",
    "CatalogSettings",
    "FeedbackSettings",
    "JobSettings",
    "LimitSettings",
    "LogSettings",
    "MetricSettings",
    "PluginSettings",
    "RaySettings",
    "ServeSettings",
    "Settings",
    "child_environment",
    "find_home",
    "find_workspace",
    "load_settings",
    "restore_settings",
]
