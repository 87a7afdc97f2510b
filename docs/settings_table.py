"""Generates docs/settings.md, the reference of settings, from the pydantic models.

python -m docs.settings_table
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from docs.recipe_table import row
from hub.config import Settings

__all__ = ["FILE", "markdown"]

FILE = Path(__file__).with_name("settings.md")

_ABOUT = """\
# Settings

Generated from the models by `python -m docs.settings_table`.

A setting is read from `hub.toml`, in the working folder or the nearest folder above it that has one; a
variable overrides it, and flags of `hub serve` override both:

```toml
# hub.toml
[serve]
port = 8080
```

```bash
HUB_SERVE__PORT=8080 hub serve
hub serve --port 8080
```

The variable of a key is `HUB_`, its section, `__` and the key, in upper case; it takes a list as JSON. An
unknown key or an invalid value stops the command with [`bad_config`](errors.md) and the name of the key. A
server reads its settings when it starts.

`HUB_HOME` is the state folder, with the catalog, adapters and bases. Without it, the state is in `.hub`
beside `hub.toml`, and without a `hub.toml` in the user's data folder. `HUB_SERVER` and `HUB_KEY` are the
address of another server and the key that commands use for it.
"""
_GUIDES = {
    "serve": "[operations](operations.md), [engines](engine.md#engines), "
    "[keys](operations.md#keys-and-browsers), [web pages](security.md#web-pages), [TLS](security.md#tls), "
    "[vLLM's adapters](clients.md#vllms-adapters)",
    "limits": "[connections](operations.md#connections), "
    "[plugins that hang](operations.md#plugins-that-hang)",
    "plugins": "[the policy](plugins/manage.md#the-policy), [settings of a plugin](plugins/settings.md)",
    "catalog": "[many replicas](operations.md#many-replicas)",
    "feedback": "[feedback](operations.md#feedback)",
    "store": "[adapter files](operations.md#adapter-files)",
    "metrics": "[monitoring](monitoring.md)",
    "log": "[logs](monitoring.md#logs)",
    "jobs": "[training over HTTP](jobs.md)",
    "ray": "[work on several machines](ray.md)",
}


def markdown() -> str:
    """Return the page: one table for each section."""
    fields = {name: info.annotation for name, info in Settings.model_fields.items() if name != "home"}
    models = {name: model for name, model in fields.items() if model is not None}
    return "\n".join([_ABOUT, *(_section(name, model) for name, model in models.items())])


def _section(name: str, model: type[BaseModel]) -> str:
    about = (model.__doc__ or "").splitlines()[0]
    rows = [row(key, info) for key, info in model.model_fields.items()]
    header = ["| key | default | what | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {name}", "", f"{about} Read on: {_GUIDES[name]}.", "", *header, *rows, ""])


if __name__ == "__main__":
    FILE.write_text(markdown(), encoding="utf-8")
