"""All services of a node, one after the other: `service_*` for clients that name the server and no service."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from agent.kinds.base import Done, Failed, Kind, Running, Step, StepResult
from agent.models import Json
from agent.plan import Plan, in_order

Act = Callable[[Step], StepResult]


def plan(kind: Kind, args: dict[str, Any], names: Sequence[str]) -> Plan:
    """The plan for all services, in order."""
    return in_order(f"{kind.name} of all services", [kind.plan(args | {"service_name": name}) for name in names])


def begin(names: Sequence[str]) -> Running:
    """The first step: no service is started yet."""
    return Running({"services": [{"service": name, "done": False, "payload": None} for name in names]})


def advance(act: Act, step: Step) -> StepResult:
    """The next step of the first service that is not done; `act` does one step of one service."""
    services = step.payload["services"]
    index = next(number for number, each in enumerate(services) if not each["done"])
    one = services[index]
    outcome = act(replace(step, args=step.args | {"service_name": one["service"]}, payload=one["payload"]))
    shown = one | {"done": isinstance(outcome, Done), "payload": outcome.payload}
    payload = {"services": [*services[:index], shown, *services[index + 1 :]]}
    if isinstance(outcome, Failed):
        message = "; ".join([outcome.message, *_others(services, index)])
        return Failed(payload | {"message": message}, message)
    if isinstance(outcome, Done):
        ended = index + 1 == len(services)
        return Done(payload, f"{outcome.message}; all services: {_names(services)}") if ended else Running(payload)
    return replace(outcome, payload=payload)


def describe_leftovers(payload: Json, describe_one: Callable[[Json], str]) -> str:
    """For people: the completed and the missing work on each service."""
    begun = [each for each in payload["services"] if each["payload"] is not None]
    waiting = [each for each in payload["services"] if each["payload"] is None]
    parts = [f"{each['service']}: {describe_one(each['payload'])}" for each in begun]
    return "; ".join([*parts, *([f"not started: {_names(waiting)}"] if waiting else [])])


def _others(services: Sequence[Json], index: int) -> list[str]:
    before, after = services[:index], services[index + 1 :]
    return [f"{how}: {_names(each)}" for how, each in (("done before", before), ("not begun", after)) if each]


def _names(services: Sequence[Json]) -> str:
    return ", ".join(each["service"] for each in services)
