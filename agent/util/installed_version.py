"""The version of the agent that is installed."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "datastore-host-agent"
"""The name on the package index, where `agent` is another project."""


@cache
def installed_version() -> str:
    """The version at the first call in this process; "unknown" if the agent is not installed as a distribution.

    Cached: parsing the metadata takes milliseconds.
    """
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
