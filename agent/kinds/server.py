"""What the kinds share that may be addressed to a server, which must be this one."""

from typing import Any, ClassVar

from marshmallow import Schema, fields

from agent.errors import InvalidArgs
from agent.kinds.base import Args, Kind
from agent.models import Json


class ServerArgs(Args):
    """The server to act on, which must be this one; callers that know only one leave it out."""

    server = fields.String(metadata={"description": "The name of this node."})


class OnServer(Kind):
    """A kind whose arguments may say which server they are meant for."""

    args: ClassVar[type[Schema]] = ServerArgs

    def load(self, args: Json) -> Any:
        loaded = super().load(args)
        if details := self.not_meant(loaded):
            elsewhere = any(name.startswith("server") for name in details)
            why = "is not meant for this server" if elsewhere else "does not accept these arguments"
            raise InvalidArgs(f"{self.name} {why}", details=details)
        return loaded

    def not_meant(self, loaded: dict[str, Any]) -> dict[str, list[str]]:
        """Which of the arguments mean another server, and what this one is."""
        node = self.settings.agent.node
        return {} if loaded.get("server", node) == node else {"server": [f"this is {node}"]}
