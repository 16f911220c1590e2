"""Doctor's checks of the configuration: mistakes, and missing requirements of kinds."""

from collections.abc import Mapping

from agent import config
from agent.cli import checking
from agent.cli.doctor.finding import Finding
from agent.config import Settings
from agent.errors import ConfigError
from agent.kinds.base.registry import Registry
from agent.util import drop_privileges


def look(environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings (None if the file has mistakes) and the findings."""
    file, origin = config.file(environ), config.origin(environ)
    if file is None:
        return config.load(environ), [
            Finding("configuration", "there is no file: run agentctl config show > /etc/agent/agent.toml")
        ]
    try:
        settings = config.load(environ)
    except ConfigError as error:
        return None, [Finding("configuration", f"{each}: correct it") for each in error.mistakes]
    # As the agent's user: the checks of owners depend on it.
    drop_privileges.become(settings.agent.db)
    found: list[Finding] = []
    for each in checking.of_the_host(settings, file):
        if isinstance(each, Registry):
            found += [Finding("configuration", each) for each in checking.warnings(settings, each)]
        else:
            found.append(Finding("trust", each))
    return settings, found or [Finding("configuration", detail=origin)]
