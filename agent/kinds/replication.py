"""Change the replication role: `promote_slave_db`, `disable_replication_slave_db`, `replication.follow`, `.demote`."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from marshmallow import Schema, fields, validate

from agent.config import Settings
from agent.datastores.replication_requests import PromoteRequest
from agent.kinds.base import Args, Done, Kind, NotOffered, Step, StepResult, Unsupported
from agent.kinds.base.arguments import Flag, LagLimit, Number
from agent.kinds.base.on_datastore import NAME_LENGTH, DatastoreServerArgs, OnDatastore, datastore_of
from agent.models import Json
from agent.plan import Danger, Plan

LONGEST_WAIT = 3600.0


def peer_field(**more: Any) -> fields.String:
    """The argument `primary`: a name of `[datastore.peers]`, never an address."""
    about = "The peer to follow: a name of [datastore.peers]."
    return fields.String(validate=validate.Length(1, NAME_LENGTH), metadata={"description": about}, **more)


class PromoteArgs(DatastoreServerArgs):
    wait = Number(
        load_default=0.0,
        validate=validate.Range(0, LONGEST_WAIT),
        metadata={"description": "Seconds to catch up while the primary still sends data."},
    )
    max_lag = LagLimit(
        load_default=None,
        metadata={"description": 'Refuse a larger lag: bytes as a number, or a text such as "16MB" or "5s".'},
    )
    force = Flag(
        load_default=False,
        metadata={"description": "Promote even if the old primary accepts writes or this server should not lead."},
    )


class PeerArgs(DatastoreServerArgs):
    primary = peer_field(required=True)


class ReplicationResult(Args):
    """The server after a change of its replication."""

    role = fields.String(
        required=True,
        validate=validate.OneOf(("primary", "replica", "standalone")),
        metadata={"description": "Its role."},
    )
    writable = fields.Boolean(required=True, metadata={"description": "Whether the server accepts writes."})
    source = fields.String(
        required=True, allow_none=True, metadata={"description": "The address that a replica follows."}
    )
    streaming = fields.Boolean(
        required=True, metadata={"description": "Whether a replica receives its source's data and applies it."}
    )
    lag = fields.Dict(metadata={"description": "The lag: bytes, seconds, transactions; null: not known."})
    old_primary = fields.String(
        metadata={"description": "Of a promotion: unreachable, read_only, writable or unknown."}
    )
    old_primary_address = fields.String(metadata={"description": "Of a promotion: the address of the old primary."})
    held_by = fields.String(
        allow_none=True, metadata={"description": "Of a promotion: the reason why commits wait, or null."}
    )
    discarded = fields.List(fields.Dict(), metadata={"description": "Discarded data: what, amount, unit."})
    server = fields.Dict(required=True, metadata={"description": "More details; they depend on the server."})


class OnReplica(OnDatastore):
    """A kind that acts on this server's replication."""

    args = DatastoreServerArgs
    result: ClassVar[type[Schema]] = ReplicationResult
    danger = Danger.DISRUPTS

    @property
    def members(self) -> Iterable[str]:
        """The member names of the result."""
        return self.result().fields

    def unchanged(self, plan: Plan) -> StepResult:
        return self.done(plan.summary)

    def done(self, message: str, details: Json = None) -> Done:
        """The end of the action, with the present role of the server.

        `details` are the values that the datastore returned: members of the result stay at the top level, all others
        are put under `server`.
        """
        role = self.datastore.role()
        state = {"role": role.name, "writable": role.writable, "source": role.primary, "streaming": role.streaming}
        members = {name: value for name, value in (details or {}).items() if name in self.members}
        server = {name: value for name, value in (details or {}).items() if name not in self.members}
        return Done(state | members | {"server": server}, message)


class Promote(OnReplica):
    """Make this replica a writable primary. Done at once on a primary; refused if its data is incomplete."""

    name = "promote_slave_db"
    args = PromoteArgs
    needs = "promote"

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_promote(_promote_request(args))

    def act(self, step: Step) -> StepResult:
        details = self.datastore.promote(step.stop, _promote_request(step.args))
        return self.done("this server is the primary now", details)

    def act_again(self, step: Step) -> StepResult:
        """If the promotion took effect, this server is a primary; otherwise it can be repeated."""
        return self.begin(step)


class DisableReplication(OnReplica):
    """Stop following the source permanently. Done at once on a server that follows no source."""

    name = "disable_replication_slave_db"
    needs = "disable_replication"

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_disable_replication()

    def act(self, step: Step) -> StepResult:
        return self.done("this server no longer follows a source", self.datastore.disable_replication(step.stop))

    def act_again(self, step: Step) -> StepResult:
        return self.begin(step)


class TowardsPeer(OnReplica):
    """A kind that makes this server follow a peer that the caller names."""

    args = PeerArgs
    configuration = "``[datastore]``, ``[datastore.peers.NAME]``; ``[service]`` if that datastore needs it."
    timeout: ClassVar[float] = 3600.0

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        datastore = datastore_of(settings)
        if (reason := cls.not_offered_by(datastore)) is not None:
            raise Unsupported(reason)
        if not datastore.settings.peers:
            raise NotOffered("set [datastore.peers.NAME] in the configuration: the servers that this one may follow")
        check_needs(settings, datastore.follow_needs)
        yield cls(settings)

    def _check_start(self, step: Step) -> None:
        if "service" in self.datastore.follow_needs:
            self.check_start(step)


class Follow(TowardsPeer):
    """Follow another primary without a rebuild. Refused, with the reason, if a rebuild is necessary."""

    name = "replication.follow"
    needs = "follow"

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_follow(self.service(), args["primary"])

    def act(self, step: Step) -> StepResult:
        primary = step.args["primary"]
        self._check_start(step)
        return self.done(f"this server follows {primary}", self.datastore.follow(self.service(), primary, step.stop))

    def act_again(self, step: Step) -> StepResult:
        return self.begin(step)


class Demote(TowardsPeer):
    """Make this primary a replica of a peer without losing a write: the first half of a switchover.

    Writes stop, the peer receives everything, then this server follows the peer. Promote the peer afterwards with
    `promote_slave_db` on its node.
    """

    name = "replication.demote"
    needs = "demote"

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_demote(self.service(), args["primary"])

    def act(self, step: Step) -> StepResult:
        self._check_start(step)
        return self.act_again(step)

    def act_again(self, step: Step) -> StepResult:
        primary = step.args["primary"]
        details = self.datastore.demote(self.service(), primary, step.stop)
        return self.done(f"this server handed over to {primary} and follows it", details)


def check_needs(settings: Settings, needs: tuple[str, ...]) -> None:
    """Raises `NotOffered` if the configuration lacks the service or an option of `[datastore]`."""
    if "service" in needs and settings.service is None:
        raise NotOffered("set [service] in the configuration: the server is stopped and started by it")
    for option in needs:
        if option != "service" and getattr(settings.datastore, option) is None:
            raise NotOffered(f"set datastore.{option} in the configuration")


def _promote_request(args: dict[str, Any]) -> PromoteRequest:
    return PromoteRequest(wait=args["wait"], max_lag=args["max_lag"], force=args["force"])
