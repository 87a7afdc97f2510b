"""The section `catalog`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class CatalogSettings(Model):
    """The database of versions, deployments and their history."""

    url: str = Field(
        "", repr=False, description="postgresql://...; empty: a SQLite file in the home, for one machine."
    )
