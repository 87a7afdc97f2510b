"""Tells an observer what became of a call: each of its requests, once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydantic import BaseModel

from hub.errors import HubError
from hub.serving.observation import Observation, Observer
from hub.serving.routing.router import Admission
from hub.store.records import Version

__all__ = ["Witness"]


class Witness:
    """Follows one call on the event loop. What is told a second time is not passed on."""

    __slots__ = ("_admission", "_observer", "_request_id", "_requests", "_seconds", "_told")

    def __init__(
        self,
        observer: Observer,
        admission: Admission,
        requests: Sequence[BaseModel | HubError],
        request_id: str,
    ) -> None:
        self._observer = observer
        self._admission = admission
        self._requests = requests
        self._request_id = request_id
        self._seconds = 0.0
        self._told = False

    def ended(self) -> None:
        """Note that the call has its answer now, whenever that is told."""
        self._seconds = time.perf_counter() - self._admission.began

    def answered(
        self,
        items: Sequence[BaseModel | HubError],
        beside: Version | None = None,
        agreed: Sequence[bool | None] = (),
    ) -> None:
        """Tell of a call whose requests became `items`, and whether what ran beside agreed on each."""
        self._tell(
            ["" if isinstance(item, BaseModel) else item.code for item in items], items, beside, agreed
        )

    def failed(self, code: str) -> None:
        """Tell of a call that failed as a whole."""
        self.ended()
        self._tell([code] * len(self._requests))

    def _tell(
        self,
        codes: Sequence[str],
        items: Sequence[BaseModel | HubError] = (),
        beside: Version | None = None,
        agreed: Sequence[bool | None] = (),
    ) -> None:
        if self._told:
            return
        self._told = True
        admission = self._admission
        alone = len(codes) == 1 or not self._request_id
        for place, (code, request) in enumerate(zip(codes, self._requests, strict=True)):
            item = items[place] if items else None
            self._observer.observe(
                Observation(
                    deployment=admission.route.deployment,
                    track=admission.track,
                    version=admission.version,
                    request_id=self._request_id if alone else f"{self._request_id}.{place}",
                    seconds=self._seconds,
                    error=code,
                    request=request if isinstance(request, BaseModel) else None,
                    response=item if isinstance(item, BaseModel) else None,
                    beside=beside,
                    agreed=agreed[place] if agreed else None,
                )
            )
