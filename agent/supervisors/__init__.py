"""Who starts and stops the datastore's service on this node."""

from agent.config import Service
from agent.supervisors.base import Supervisor
from agent.supervisors.commands import Commands
from agent.supervisors.systemd import Systemd


def of(service: Service) -> Supervisor:
    """The supervisor that `[service]` names."""
    if service.supervisor == "systemd":
        assert service.unit  # the configuration is checked
        return Systemd(service.unit, service.timeout)
    return Commands(service.pid, service.start, service.stop, service.timeout)
