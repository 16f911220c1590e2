"""All looks of doctor at a host whose configuration has no mistake, in the order in which they are printed."""

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
    """What each of them found."""
    return [finding for each in LOOKS for finding in each(settings)]
