"""agentctl status, datastore: print the state of the agent and of its datastore."""

from typing import Any

from agent.cli import exits, printing
from agent.cli.options import remote
from agent.cli.session import CliSession
from agent.client import ACTIONS, Refused

DATASTORE = "/api/unstable/datastore"
FAILURES = ("failed", "timed_out", "interrupted")
"""Outcomes that need attention; cancelled and expired actions ended as requested."""


@remote("datastore", examples=("agentctl datastore", "agentctl datastore -o json"))
def datastore_command(session: CliSession) -> int:
    """Print the state of the datastore: role, version, lag, replicas."""
    facts = session.client.get(DATASTORE).body
    printing.members(facts, session.format, facts["kind"])
    return exits.DONE


@remote("status", examples=("agentctl status", "agentctl --on db-1,db-2 status"))
def status_command(session: CliSession) -> int:
    """Print the running, waiting and last ended actions, and the role and lag of the datastore."""
    client = session.client
    pending = client.get(f"{ACTIONS}/list", state="NEW,RUNNING", limit=500).body["items"]
    ended = client.get(f"{ACTIONS}/list", state="DONE,FAILED", limit=10).body["items"]
    found = {
        "agent": client.url,
        "running": next((_described(each) for each in pending if each["state"] == "RUNNING"), "nothing"),
        "waiting": sum(each["state"] == "NEW" for each in pending),
        "held": sum(each["held"] is not None for each in pending),
        "last": _described(max(ended, key=lambda each: each["finished_ts"])) if ended else "no action has ended yet",
        "failed": f"{sum(each['outcome'] in FAILURES for each in ended)} of the newest {len(ended)}",
        "datastore": _datastore(session),
    }
    printing.members(found, session.format, client.url)
    return exits.DONE


def _described(action: Any) -> str:
    how = action["outcome"] or printing.measured(action["progress"] or {})
    parts = (action["id"][:8], action["kind"], how, action["message"], action["finished_ts"])
    return "  ".join(part for part in parts if part)


def _datastore(session: CliSession) -> str:
    try:
        facts = session.client.get(DATASTORE).body
    except Refused as error:
        return str(error)
    if not facts["reachable"]:
        return f"{facts['kind']}, unreachable: {facts['error']}"
    lag = (facts.get("lag") or {}).get("bytes")
    parts = (
        facts["kind"],
        facts["version"],
        facts["role"],
        None if lag is None else f"lag {printing.size(lag)}",
        _not_streaming(facts["source"]) if facts.get("streaming") is False else None,
    )
    return "  ".join(str(part) for part in parts if part)


def _not_streaming(source: Any) -> str:
    """Why a replica does not stream. A replica with a stopped applier still receives data."""
    state = (source or {}).get("state")
    return "receives and does not apply" if state == "streaming" else f"not streaming ({state})"
