"""The exceptions of GraftHub.

    HubError
    ├── BadRequest            400  the request is invalid
    │   ├── InvalidName       400
    │   ├── InvalidText       400
    │   ├── InvalidImage      400  not an image of a known format
    │   ├── MethodNotAllowed  405
    │   ├── RequestTimeout    408  headers or a body did not arrive in time
    │   ├── TooLarge          413
    │   ├── BadMediaType      415
    │   ├── Misdirected       421  addressed to another host name
    │   ├── HeadersTooLarge   431
    │   ├── BadDimensions     400  the vectors of this version have fewer dimensions
    │   ├── BadSampling       400  this base cannot follow a sampling setting
    │   ├── AlreadyLoaded     400  a deployment has the name of the adapter to load
    │   └── UnsupportedFormat 400  this adapter cannot be exported in this format
    ├── Unauthorized          401
    ├── Forbidden             403
    │   ├── CrossOrigin       403  sent by a web page of another site
    │   └── PluginNotAllowed  403  plugins.policy or another setting does not permit it
    ├── NotFound              404  the message lists the existing names
    │   └── VersionUnavailable 404 a pinned version is neither live nor resident
    ├── Conflict              409
    │   ├── AmbiguousDeployment
    │   ├── LibraryPinned          a plugin needs another version of a library that the hub runs on
    │   ├── PluginConflict
    │   ├── ReloadRunning          a server reloads its plugins already
    │   ├── VersionsUnreadable     the new version of a plugin cannot read versions that the present one can
    │   └── DeploymentsLost        live deployments would not be served after a reload of plugins
    ├── BadRecipe             422  a recipe or data file is invalid
    │   └── BadData
    ├── BadAdapter            422  weights are malformed or unsafe
    │   ├── UnsafeWeights
    │   ├── UnsupportedAdapter
    │   └── BaseMismatch
    ├── BadBase               422  a base is incomplete, altered or of an unknown kind
    ├── BadPlugin             422
    │   └── HashMismatch      422  a file is not the one that plugins.lock or plugins.allow records
    ├── BadConfig             422
    ├── MissingExtra          501  an optional dependency is missing
    ├── Overloaded            429
    │   └── RateLimited       429  a limit of the caller's key is reached
    ├── NotReady              503
    │   ├── PluginSuspended   503  too many calls hang in the plugin's code
    │   └── RequiredPluginFailed 503 a plugin of plugins.required cannot be used
    ├── DeadlineExceeded      504  a request took longer than limits.timeout_s, or than its client waits
    ├── NotServed             504  too few replicas serve a change in time
    ├── SourceUnavailable     502  a download failed
    ├── ClusterUnavailable    503  no Ray cluster answers, or its workers were lost
    ├── EngineFailed          500
    ├── PluginFailed          500  a plugin's code raised an exception or returned a wrong value
    │   ├── PluginTimeout     504  a plugin's code ran longer than limits.plugin_timeout_s
    │   └── PluginMemory      500  a plugin's code took more memory than it may, or returned too much
    ├── ReloadFailed          500  a new worker did not become ready; the previous one goes on
    │   └── ReloadTimeout     504  not within serve.reload_timeout_s
    ├── ExportFailed          500  an exported model does not reproduce the adapter
    └── HostFault             507  the disk or the operating system failed

`code` is stable, so that clients can match on it. `str(error)` has the problem, its object and the remedy.
"""

from hub.errors.base import HubError
from hub.errors.content import (
    BadAdapter,
    BadBase,
    BadConfig,
    BadData,
    BadPlugin,
    BadRecipe,
    BaseMismatch,
    HashMismatch,
    MissingExtra,
    UnsafeWeights,
    UnsupportedAdapter,
)
from hub.errors.report import MAX_FRAMES, first_problem, log_fault
from hub.errors.request import (
    AlreadyLoaded,
    AmbiguousDeployment,
    BadDimensions,
    BadMediaType,
    BadRequest,
    BadSampling,
    Conflict,
    CrossOrigin,
    DeploymentsLost,
    Forbidden,
    HeadersTooLarge,
    InvalidImage,
    InvalidName,
    InvalidText,
    LibraryPinned,
    MethodNotAllowed,
    Misdirected,
    NotFound,
    PluginConflict,
    PluginNotAllowed,
    ReloadRunning,
    RequestTimeout,
    TooLarge,
    Unauthorized,
    UnsupportedFormat,
    VersionsUnreadable,
    VersionUnavailable,
    listed,
)
from hub.errors.server import (
    ClusterUnavailable,
    DeadlineExceeded,
    EngineFailed,
    ExportFailed,
    HostFault,
    NotReady,
    NotServed,
    Overloaded,
    PluginFailed,
    PluginMemory,
    PluginSuspended,
    PluginTimeout,
    RateLimited,
    ReloadFailed,
    ReloadTimeout,
    RequiredPluginFailed,
    SourceUnavailable,
)

__all__ = [
    "MAX_FRAMES",
    "AlreadyLoaded",
    "AmbiguousDeployment",
    "BadAdapter",
    "BadBase",
    "BadConfig",
    "BadData",
    "BadDimensions",
    "BadMediaType",
    "BadPlugin",
    "BadRecipe",
    "BadRequest",
    "BadSampling",
    "BaseMismatch",
    "ClusterUnavailable",
    "Conflict",
    "CrossOrigin",
    "DeadlineExceeded",
    "DeploymentsLost",
    "EngineFailed",
    "ExportFailed",
    "Forbidden",
    "HashMismatch",
    "HeadersTooLarge",
    "HostFault",
    "HubError",
    "InvalidImage",
    "InvalidName",
    "InvalidText",
    "LibraryPinned",
    "MethodNotAllowed",
    "Misdirected",
    "MissingExtra",
    "NotFound",
    "NotReady",
    "NotServed",
    "Overloaded",
    "PluginConflict",
    "PluginFailed",
    "PluginMemory",
    "PluginNotAllowed",
    "PluginSuspended",
    "PluginTimeout",
    "RateLimited",
    "ReloadFailed",
    "ReloadRunning",
    "ReloadTimeout",
    "RequestTimeout",
    "RequiredPluginFailed",
    "SourceUnavailable",
    "TooLarge",
    "Unauthorized",
    "UnsafeWeights",
    "UnsupportedAdapter",
    "UnsupportedFormat",
    "VersionUnavailable",
    "VersionsUnreadable",
    "first_problem",
    "listed",
    "log_fault",
]
