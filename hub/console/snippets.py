"""The same request in curl, Python and JavaScript."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["snippets"]


def snippets(base_url: str, deployment: str, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each language, and the code that sends `body` to a deployment."""
    url = f"{base_url.rstrip('/')}/v1/deployments/{deployment}/predict"
    compact = json.dumps(body, ensure_ascii=False)
    return [
        ("curl", _curl(url, compact)),
        ("Python", _python(url, body)),
        ("JavaScript", _javascript(url, body)),
    ]


def _curl(url: str, body: str) -> str:
    return (
        f"curl {url} \\\n"
        "  -H 'content-type: application/json' \\\n"
        '  -H "authorization: Bearer $HUB_KEY" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _python(url: str, body: Mapping[str, Any]) -> str:
    return (
        "import os\n\nimport httpx\n\n"
        f"answer = httpx.post(\n    {url!r},\n    json={body!r},\n"
        '    headers={"authorization": f"Bearer {os.environ[\'HUB_KEY\']}"},\n)\n'
        "print(answer.raise_for_status().json())"
    )


def _javascript(url: str, body: Mapping[str, Any]) -> str:
    return (
        f"const answer = await fetch({json.dumps(url)}, {{\n"
        '  method: "POST",\n'
        '  headers: {"content-type": "application/json", authorization: `Bearer ${process.env.HUB_KEY}`},\n'
        f"  body: JSON.stringify({json.dumps(body, ensure_ascii=False)}),\n"
        "});\n"
        "console.log(await answer.json());"
    )
