"""TLS by the certificate of the settings, which is read again when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from hub.config import ServeSettings
from hub.errors import BadConfig

__all__ = ["ServerTls"]

log = logging.getLogger(__name__)


class ServerTls:
    """`context` is that of new connections.

    Raises:
        BadConfig: the files cannot be read, or are no PEM certificate with its unencrypted key.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._read_at = self._changed_at()
        self.context = self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    @classmethod
    def of(cls, serve: ServeSettings) -> ServerTls | None:
        """Return the TLS of the settings; None if they set none."""
        return cls(Path(serve.tls_cert), Path(serve.tls_key)) if serve.tls_cert else None

    def refresh(self) -> None:
        """Use a renewed certificate for new connections; one that cannot be used is logged and left out."""
        try:
            changed_at = self._changed_at()
            if changed_at == self._read_at:
                return
            self._read_at = changed_at
            self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a bad file must not spoil the other context
            self._read(self.context)
        except (BadConfig, OSError) as error:
            log.error("The former certificate stays in use: %s", error)
        else:
            log.info("The certificate was renewed.")

    def _read(self, context: ssl.SSLContext) -> ssl.SSLContext:
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise BadConfig(
                f"serve.tls_cert ({certificate}) and serve.tls_key ({key}) cannot be used: {reason}. They "
                "must be PEM files: the certificate, followed by those of its issuers; its unencrypted key."
            ) from None
        return context

    def _changed_at(self) -> tuple[int, ...]:
        """Return the times of change of both files; 0 for one that is missing while it is replaced."""
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in self._files)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # without this, OpenSSL would ask on the terminal
