"""Supervisors: start and stop the datastore's service on this node."""

from agent.config import Service
from agent.supervisors.base import Supervisor
from agent.supervisors.commands import Commands


def of(service: Service) -> Supervisor:
    """The supervisor configured in `[service]`."""
    if service.supervisor == "systemd":
        from agent.supervisors.systemd.supervisor import Systemd

        assert service.unit  # the configuration is checked
        return Systemd(service.unit, service.timeout)
    return Commands(service.pid, service.start, service.stop, service.timeout)
