"""What is refused before pip runs, and what pip's output becomes. Real installations: tests/cli."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import BadPlugin, BadRequest, Conflict, HubError, NotFound, SourceUnavailable
from hub.registry.install.install import install
from hub.registry.install.pip import failure


@pytest.mark.parametrize(
    "what", ["", "-e", "--pre", "two words", "acme @ evil.org", "acme;python_version<'4'", "acme==1 --pre"]
)
def test_what_is_no_plain_package_name_never_reaches_pip(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRequest, match=r"neither a path nor a package"):
        install(what, home=tmp_path)


def test_a_path_that_cannot_be_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"missing\.whl does not exist"):
        install(str(tmp_path / "missing.whl"), home=tmp_path)
    with pytest.raises(BadRequest, match=r"has no pyproject\.toml"):
        install(str(tmp_path), home=tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadRequest, match=r"notes\.txt cannot be installed"):
        install(str(tmp_path / "notes.txt"), home=tmp_path)


UNKNOWN = """\
ERROR: Could not find a version that satisfies the requirement acme (from versions: none)
ERROR: No matching distribution found for acme
"""
UNREACHED = """\
WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError': /simple/acme/
ERROR: Could not find a version that satisfies the requirement acme (from versions: none)
ERROR: No matching distribution found for acme
"""
CONFLICT = """\
ERROR: Cannot install acme==1.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    acme 1.0 depends on pydantic<2
    The user requested (constraint) pydantic==2.14.3

To fix this you could try to:
1. loosen the range of package versions you've specified
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io
"""
BUILD = """\
  error: subprocess-exited-with-error
        File "setuptools/config/pyprojecttoml.py", line 61, in validate
      ValueError: invalid pyproject.toml config: `project.version`.
      configuration error: `project.version` must be string
error: metadata-generation-failed
hint: See above for details.
"""
NO_NETWORK = """\
Processing ./acme
  Installing build dependencies: finished with status 'error'
  error: subprocess-exited-with-error
  pip subprocess to install build dependencies did not run successfully.
   [8 lines of output]
      WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by '...': /simple/setuptools/
      ERROR: Could not find a version that satisfies the requirement setuptools>=77 (from versions: none)
      ERROR: No matching distribution found for setuptools>=77
      [end of output]
error: subprocess-exited-with-error
"""
NOT_ON_INDEX = "\n".join(line for line in NO_NETWORK.splitlines() if "Retrying" not in line)
NO_BACKEND = """\
  Preparing metadata (pyproject.toml): started
ERROR: Exception:
pip._vendor.pyproject_hooks._impl.BackendUnavailable: Traceback (most recent call last):
ModuleNotFoundError: No module named 'hatchling'
"""
PLAIN = """\
Processing ./acme
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        (UNKNOWN, SourceUnavailable, r"could not get acme: No matching distribution found for acme\. Check"),
        (UNREACHED, SourceUnavailable, r"The package index could not be reached"),
        (CONFLICT, Conflict, r"acme 1\.0 depends on pydantic<2; The user requested .* pydantic==2\.14\.3\.$"),
        (BUILD, BadPlugin, r"could not install acme: ValueError: invalid pyproject.toml config.*version`\.$"),
        (NO_NETWORK, SourceUnavailable, r"needs setuptools>=77, and the package index could not be reached"),
        (NO_NETWORK, SourceUnavailable, r"add --no-build-isolation\. Or install a wheel"),
        (NOT_ON_INDEX, SourceUnavailable, r"needs setuptools>=77, and no package index has it\."),
        (NO_BACKEND, BadPlugin, r"hatchling is not installed.*leave --no-build-isolation out"),
        (PLAIN, BadPlugin, r"could not install acme: .*No space left on device\.$"),
        ("", BadPlugin, r"no output from pip"),
    ],
)
def test_pips_output_becomes_the_error_that_fits(output: str, kind: type[HubError], message: str) -> None:
    with pytest.raises(kind, match=message):
        raise failure("acme", output)
