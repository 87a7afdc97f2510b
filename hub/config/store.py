"""The section `store`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class BlobSettings(Model):
    """The storage of adapter files."""

    blobs: str = Field(
        "",
        repr=False,
        description="An fsspec URL such as s3://bucket/hub; empty: a folder in the home, for one machine.",
    )
