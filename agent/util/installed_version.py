"""The version of the agent that is installed."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "datastore-host-agent"
"""The name on a package index; `agent` is another project's there."""


@cache
def installed_version() -> str:
    """That of the distribution when the process first asked; "unknown" where the agent runs without an installation.

    Read once: the metadata of a distribution is an e-mail message, which takes milliseconds to parse.
    """
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
