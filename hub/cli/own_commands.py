"""The commands that come by the hook of plugins, though they are built in."""

from __future__ import annotations

from typer import Typer

from hub.api import Command, NoOptions

__all__ = ["Bench"]


class Bench(Command[NoOptions]):
    """`hub bench`."""

    def app(self) -> Typer:
        from hub.cli.bench import bench

        app = Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
        app.command()(bench)
        return app
