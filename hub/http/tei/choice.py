"""Which deployment answers where the path names none: the one in `model`, or the only one that fits."""

from __future__ import annotations

from collections.abc import Callable

from hub.errors import AmbiguousDeployment, NotFound, listed
from hub.http.tei.forms import classifies, makes_vectors
from hub.registry.host import LoadedTask
from hub.serving.routing.routes import Resolve, Route, Routes, by_name

__all__ = ["any_kind", "only"]

Fits = Callable[[LoadedTask], bool]


def any_kind(task: LoadedTask) -> bool:
    """Return whether any of these routes fits a task."""
    return makes_vectors(task) or classifies(task)


def only(fits: Fits, model: str | None = None) -> Resolve:
    """Resolve to `model`, or to the only deployment that fits, or to the one of them named like its task.

    Raises:
        NotFound: there is none.
        AmbiguousDeployment: there are several.
        Others: as `by_name`.
    """
    if model is not None:
        return by_name(model)

    def resolve(routes: Routes) -> Route:
        found = [route for _, route in sorted(routes.by_name.items()) if fits(route.task)]
        named = [route for route in found if route.name == route.task.spec.name]
        for choice in (found, named):
            if len(choice) == 1:
                return choice[0]
        if not found:
            raise NotFound(
                "No deployment can answer this. Make one with `hub deploy NAME@N --as DEPLOYMENT`."
            )
        names = listed(route.name for route in found)
        raise AmbiguousDeployment(
            f"{len(found)} deployments can answer this: {names}. Name one in the field `model`, or below "
            "/tei/NAME."
        )

    return resolve
