"""All checks of doctor for a valid configuration, in the order of printing."""

from collections.abc import Callable, Iterator, Sequence

from agent.cli.doctor import access, programs, servers, state, units
from agent.cli.doctor.finding import Finding
from agent.config import Settings

LOOKS: Sequence[Callable[[Settings], Iterator[Finding]]] = (
    state.folder,
    state.database,
    state.room,
    state.secrets,
    access.addresses,
    access.certificates,
    access.revocations,
    access.identities,
    programs.commands,
    programs.tools,
    units.exist,
    units.rule,
    servers.datastore,
    servers.peers,
    servers.caches,
    servers.engine,
)


def look(settings: Settings) -> list[Finding]:
    """The findings of all checks."""
    return [finding for each in LOOKS for finding in each(settings)]
