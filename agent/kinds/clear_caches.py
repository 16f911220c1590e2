"""`clear_caches`: empty the caches that the configuration names."""

from dataclasses import replace
from typing import Any

from marshmallow import Schema, fields, validate

from agent import caches
from agent.caches.base import CacheFailed, Cleared
from agent.config import Settings
from agent.datastores.base import DriverMissing
from agent.errors import ConfigError
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Running, Step, StepResult
from agent.kinds.base.arguments import MOST_NAMES, Listed
from agent.models import Json
from agent.plan import Danger, Discard, Plan, Would


def _names(*validators: Any) -> Listed:
    return Listed(
        fields.String(validate=validators),
        validate=validate.Length(min=1, max=MOST_NAMES),
        metadata={"description": "The caches to clear, by their names in the configuration; default: all."},
    )


class ClearCachesArgs(Args):
    caches = _names()


class ClearCachesResult(Args):
    """The keys, items, files and bytes that were freed."""

    cleared = fields.Dict(
        required=True,
        metadata={"description": "By cache: keys (redis), items (memcached) or files (folder), and bytes."},
    )
    again = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Caches cleared again after an interruption; earlier amounts are not counted."},
    )


class ClearCaches(Kind):
    """Clear the caches of this node, one after the other, and report the freed amount.

    If a cache cannot be cleared, the others are still cleared; the action fails at the end.
    """

    name = "clear_caches"
    args = ClearCachesArgs
    result = ClearCachesResult
    resource_type = "Stack"
    danger = Danger.DESTROYS
    configuration = "``[caches.NAME]``."
    privileges = (
        "In Redis ``FLUSHDB``, ``DBSIZE``, ``INFO`` and ``SELECT``; to write in the folders and their subfolders."
    )
    interruption = "The interrupted cache is cleared again, and the result names it; the remaining caches follow."

    def __init__(self, settings: Settings) -> None:
        if not settings.caches:
            raise NotOffered("set [caches.NAME] in the configuration")
        super().__init__(settings)
        _refuse_own_folder(settings)
        try:
            self._caches = {name: caches.of(each) for name, each in settings.caches.items()}
        except DriverMissing as error:
            raise NotOffered(str(error)) from None
        self.schema: Schema = Args.from_dict({"caches": _names(validate.OneOf(list(self._caches)))})()

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, self.settings.agent.stack

    def plan(self, args: Any) -> Plan:
        names = self._wanted(args)
        discards = [Discard(f"all entries of the cache {name}", None, "entries") for name in names]
        steps = [f"clear {name}" for name in names]
        return Plan(Would.DESTROY, f"would clear {', '.join(names)}", steps=steps, discards=discards)

    def _wanted(self, args: Any) -> list[str]:
        """The names of the caches to clear, each once."""
        return list(dict.fromkeys(args.get("caches", self._caches)))

    def step(self, step: Step) -> StepResult:
        if step.payload is None:
            names = self._wanted(step.args)
            return Running({"clearing": names[0], "next": names[1:], "cleared": {}, "failed": {}, "again": []})
        return _next(self._with_result(step.payload, step))

    def resume(self, step: Step) -> StepResult:
        if step.payload is None:
            return self.step(step)
        again = dict.fromkeys([*step.payload["again"], step.payload["clearing"]])
        return self.step(replace(step, payload=step.payload | {"again": list(again)}))

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        clearing, failed = payload["clearing"], payload["failed"]
        cleared = [name for name in payload["cleared"] if name != clearing and name not in failed]
        due = [name for name in (clearing, *payload["next"]) if name is not None]
        groups = {"cleared": cleared, "failed": failed, "not cleared": due}
        return "; ".join(f"{how}: {', '.join(names)}" for how, names in groups.items() if names)

    def _with_result(self, payload: Json, step: Step) -> Json:
        """The payload with the result of the current cache, which stays current while it has more entries."""
        name = payload["clearing"]
        try:
            cleared = self._clear(name, step)
        except CacheFailed as error:
            cleared = Cleared(problem=str(error))
        freed = _sum(payload["cleared"].get(name, {}), cleared.freed)
        updated = payload | {"cleared": payload["cleared"] | ({name: freed} if freed else {})}
        if cleared.problem:
            updated["failed"] = payload["failed"] | {name: cleared.problem}
        return updated if cleared.unfinished else updated | {"clearing": None}

    def _clear(self, name: str, step: Step) -> Cleared:
        if name not in self._caches:
            raise CacheFailed("the configuration no longer has it")
        return self._caches[name].clear(step.stop)


def _next(payload: Json) -> StepResult:
    """Continue with the next cache, or end the action."""
    if payload["clearing"] is not None:
        return Running(payload)
    if payload["next"]:
        return Running(payload | {"clearing": payload["next"][0], "next": payload["next"][1:]})
    result = {"cleared": payload["cleared"], "again": payload["again"]}
    if failed := payload["failed"]:
        message = "; ".join(f"{name} is not cleared: {why}" for name, why in failed.items())
        return Failed({"message": message, **result, "failed": failed}, message)
    freed = (f"{name} ({_counted(each)})" for name, each in payload["cleared"].items())
    return Done(result, f"cleared {', '.join(freed)}")


def _sum(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {unit: before.get(unit, 0) + count for unit, count in now.items()} or before


def _counted(freed: dict[str, int]) -> str:
    return ", ".join(f"{count} {unit}" for unit, count in freed.items())


def _refuse_own_folder(settings: Settings) -> None:
    """Raises `ConfigError` for a folder that holds the agent's own state."""
    own = settings.agent.db.resolve()
    for name, cache in settings.caches.items():
        if cache.path is not None and own.is_relative_to(cache.path.resolve()):
            raise ConfigError(f"caches.{name}.path: {cache.path} holds agent.db, which is no cache")
