"""The argument `server`: a request that names another server is refused."""

from typing import Any, ClassVar

from marshmallow import Schema, fields

from agent.errors import InvalidArgs
from agent.kinds.base.kind import Args, Kind
from agent.models import Json


class ServerArgs(Args):
    """The optional server to act on; it must be this node."""

    server = fields.String(metadata={"description": "The name of this node."})


class OnServer(Kind):
    """A kind whose arguments may name the server; `load` refuses the name of another server."""

    args: ClassVar[type[Schema]] = ServerArgs

    def load(self, args: Json) -> Any:
        loaded = super().load(args)
        if details := self.misdirected(loaded):
            elsewhere = any(name.startswith("server") for name in details)
            why = "is not meant for this server" if elsewhere else "does not accept these arguments"
            raise InvalidArgs(f"{self.name} {why}", details=details)
        return loaded

    def misdirected(self, loaded: dict[str, Any]) -> dict[str, list[str]]:
        """Errors by argument for each argument that names another server."""
        node = self.settings.agent.node
        return {} if loaded.get("server", node) == node else {"server": [f"this is {node}"]}
