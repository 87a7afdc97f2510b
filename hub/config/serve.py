"""The section `serve`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from hub.api import Model
from hub.keys import hash_key

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<place>([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


class ServeSettings(Model):
    """Settings of the server."""

    host: str = Field(
        "127.0.0.1", description="Address to bind; beyond loopback, the server refuses to start without keys."
    )
    port: int = Field(3000, ge=0, le=65535, description="Port; 0: a free one.")
    engine: str = Field(
        "auto",
        pattern="^[a-z0-9][a-z0-9._-]{0,62}$",
        description="auto, onnx, onnx-int8, openvino, openvino-bf16, torch, torch-bf16, fake, or the name of "
        "a plugin's engine; bases for which a plugin has an engine run on that.",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    slots: int = Field(
        32,
        ge=1,
        le=100_000,
        description="Adapters resident at once on each base; with more deployments, adapters are loaded on "
        "demand.",
    )
    max_rank: int = Field(
        256,
        ge=1,
        description="Maximum LoRA rank of an adapter that is imported or deployed; one with a higher rank "
        "can be imported with `--merged`.",
    )
    threads: int = Field(
        0, ge=0, description="Threads of one forward pass; 0: all cores, divided among the replicas."
    )
    adapter_cache_mb: int = Field(
        256,
        ge=0,
        description="Memory for the cache of loaded adapters, which need no disk access; in MB.",
    )
    batch_rows: int = Field(64, gt=0, description="Maximum rows in one forward pass.")
    generate_rows: int = Field(
        32, ge=1, le=1024, description="Texts generated at once on each base, each beam counted; more wait."
    )
    generate_mb: int = Field(
        2000,
        ge=1,
        description="Memory for the keys and values of generated texts on each base, in MB; a text that can "
        "never fit is refused (429).",
    )
    generate_prefix_mb: int = Field(
        256,
        ge=0,
        description="Memory on each base for keys and values of the beginnings of texts, in MB, reused by "
        "texts that begin alike; 0: none.",
    )
    poll_ms: int = Field(
        250, gt=0, description="Interval at which the catalog is polled for changes, in milliseconds."
    )
    load_timeout_s: float = Field(
        30.0, gt=0, description="How long a request or a deploy waits for an adapter to load, in seconds."
    )
    reload_timeout_s: float = Field(
        600.0,
        gt=0,
        description="Time in which a new worker of `hub plugins reload` has to be ready, and then the one "
        "before to end its requests, in seconds.",
    )
    explain: bool = Field(
        False,
        description="Enable /v1/deployments/NAME/explain; each call takes seconds of all cores, and only one "
        "runs at a time.",
    )
    replicas: int = Field(
        1, ge=1, le=64, description="Serving processes on one port; each holds a copy of the bases."
    )
    admin_key: str = Field(
        "",
        repr=False,
        description="Key for /admin, at least 16 characters, or its hash; empty: a key is created in "
        "`<home>/admin.key`, readable only by its owner.",
    )
    api_keys: tuple[str, ...] = Field(
        (),
        repr=False,
        description="Keys for inference, or their hashes (`hub keys hash`); empty: no key is needed on "
        "loopback.",
    )
    adapter_roots: tuple[Path, ...] = Field(
        (),
        description="Folders whose adapters /v1/load_lora_adapter may load; empty: none.",
    )
    console: bool = Field(True, description="Serve the pages below /console, which need a key.")
    session_minutes: int = Field(
        480, ge=1, le=43_200, description="Time after which a browser signs in to the console again."
    )
    session_key: str = Field(
        "",
        repr=False,
        description="Key that signs the console's sessions, the same on all machines that serve it under one "
        "address; empty: a local key is created.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names under which clients may reach the server; empty: loopback names if bound to "
        "loopback, else any name; `*`: any.",
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Origins whose web pages may use the server, except what needs the admin key, such as "
        '"https://app.example"; `*`: any.',
    )
    tls_cert: str = Field(
        "",
        description="PEM file of the certificate, then those of its issuers: serves HTTPS; empty: HTTP.",
    )
    tls_key: str = Field("", description="PEM file of the certificate's unencrypted key.")

    @field_validator("admin_key", "session_key")
    @classmethod
    def _check_key(cls, key: str) -> str:
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

    @field_validator("adapter_roots")
    @classmethod
    def _check_roots(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        for number, root in enumerate(roots, start=1):
            if not root.is_absolute():
                raise ValueError(f"number {number}: write an absolute path")
        return roots

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_check_item(_host, number, host) for number, host in enumerate(hosts, start=1))

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_check_item(_origin, number, origin) for number, origin in enumerate(origins, start=1))

    @model_validator(mode="after")
    def _check_tls(self) -> ServeSettings:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("serve.tls_cert and serve.tls_key go together")
        return self

    @model_validator(mode="after")
    def _check_roles(self) -> ServeSettings:
        if self.admin_key and hash_key(self.admin_key) in self.api_keys:
            raise ValueError("serve.admin_key is one of serve.api_keys; use another key for administration")
        return self


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


def _origin(origin: str) -> str:
    """Return an origin as browsers send it: in lower case, without the default port."""
    if origin == "*":
        return origin
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None:
        raise ValueError('write scheme and host, and a port if it is not the default: "https://app.example"')
    return f"{found['scheme']}://{found['place'].removesuffix(_DEFAULT_PORTS[found['scheme']])}"
