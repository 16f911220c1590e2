"""Create, change and delete users of MongoDB. All users are in `admin`, for roles on several databases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, UserChanges, agreed
from agent.datastores.mongodb import deadline
from agent.datastores.mongodb.databases import OF_THE_SERVER, refuse_elsewhere
from agent.models import Json
from agent.plan import Plan, Would

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

USERS = "admin"
ROLES = {"readonly": "read", "readwrite": "readWrite", "owner": "dbOwner"}
Roles = list[dict[str, str]]


def find(here: MongoDB, name: str) -> dict[str, Any] | None:
    """MongoDB's description of the user; None if there is none."""
    found = here.command("usersInfo", {"user": name, "db": USERS})["users"]
    return dict(found[0]) if found else None


def plan_create(here: MongoDB, name: str) -> Plan:
    if (refusal := refuse_elsewhere(here)) is not None:
        return refusal
    if find(here, name) is not None:
        return plan.refuse(f"the user {name} exists already", "choose another name, or use database_user_update")
    steps = [f"create the user {name} in {USERS}", "log in as this user"]
    return Plan(Would.CHANGE, f"the user {name} would be created", steps=steps)


def create(here: MongoDB, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
    """Create a user; the databases need not exist. A user that cannot log in is removed again."""
    roles = _roles(privileges, databases)
    what = f"the user {name} was created"
    deadline.change(
        here, lambda: find(here, name) is not None, what, "createUser", name, database=USERS, pwd=password, roles=roles
    )
    try:
        proof = _prove(here, name, password)
    except DatastoreRefused:
        with suppress(DatastoreError):
            here.command("dropUser", name, database=USERS)
        raise
    return _described(roles) | {"proof": proof}


def plan_update(here: MongoDB, name: str, changes: UserChanges) -> Plan:
    if (refusal := refuse_elsewhere(here) or _refuse_update(here, name, changes)) is not None:
        return refusal
    user = find(here, name)
    assert user is not None  # otherwise it was refused
    wanted = _wanted(user, changes)
    steps = [f"give it the roles {', '.join(_names(wanted)) or '(none)'}"] if wanted is not None else []
    if changes.password is not None:
        steps += ["set the password", "log in as this user"]
    if not steps:
        return plan.nothing(f"the user {name} already has these properties", facts={"user": name})
    return Plan(Would.CHANGE, f"the user {name} would be changed", steps=steps, facts={"user": name})


def update(here: MongoDB, name: str, changes: UserChanges) -> Json:
    """Change a user with one atomic command. Open connections stay, with the new roles."""
    agreed(plan_update(here, name, changes))
    user = find(here, name)
    assert user is not None
    wanted = _wanted(user, changes)
    members: dict[str, Any] = {} if wanted is None else {"roles": wanted}
    if changes.password is not None:
        members["pwd"] = changes.password
    if members:
        done = _is_updated(here, name, wanted, changes.password)
        what = f"the user {name} was changed"
        deadline.change(here, done, what, "updateUser", name, database=USERS, **members)
    result = _described(_held(user) if wanted is None else wanted)
    return result if changes.password is None else result | {"proof": _prove(here, name, changes.password)}


def plan_delete(here: MongoDB, name: str, reassign_to: str | None) -> Plan:
    if reassign_to is not None:
        return plan.refuse("the users of MongoDB own nothing", "leave reassign_to out")
    if (refusal := refuse_elsewhere(here)) is not None:
        return refusal
    if find(here, name) is None:
        return plan.refuse(f"no user is called {name}", "check the name")
    if _is_own(here, name):
        return plan.refuse(f"the user {name} is the agent's own", "name a user of an application")
    return Plan(Would.CHANGE, f"the user {name} would be deleted", steps=[f"delete the user {name}"])


def delete(here: MongoDB, name: str) -> Json:
    if _is_own(here, name):
        raise DatastoreRefused(f"the user {name} is the agent's own")
    what = f"the user {name} was deleted"
    deadline.change(here, lambda: find(here, name) is None, what, "dropUser", name, database=USERS)
    return {"authSource": USERS}


def _refuse_update(here: MongoDB, name: str, changes: UserChanges) -> Plan | None:
    user = find(here, name)
    if user is None:
        return plan.refuse(f"no user is called {name}", "check the name, or use database_user_create")
    if _is_own(here, name):
        return plan.refuse(f"the user {name} is the agent's own", "change it by hand, and its password file with it")
    if changes.locked:
        return plan.refuse(
            "MongoDB cannot lock a user", "take its databases away (databases: []), or change its password"
        )
    if changes.keep_old_password:
        return plan.refuse(
            "MongoDB cannot keep the old password of a user valid together with the new one",
            "leave keep_old_password out, or create a second user, move the application over and delete the first",
        )
    if changes.databases is not None and changes.privileges is None and _level(user) is None:
        return plan.refuse(
            f"the user {name} has different privileges in its databases",
            "name `privileges`: readonly, readwrite or owner",
        )
    return None


def _wanted(user: dict[str, Any], changes: UserChanges) -> Roles | None:
    """The complete list of wanted roles, keeping roles that the agent did not create. None: no change needed."""
    if changes.databases is None and changes.privileges is None:
        return None
    held = _held(user)
    own = [role for role in held if _is_of_ours(role)]
    databases = [role["db"] for role in own] if changes.databases is None else changes.databases
    level = changes.privileges or str(_level(user))
    wanted = [role for role in held if not _is_of_ours(role)] + _roles(level, list(dict.fromkeys(databases)))
    return None if sorted(_names(wanted)) == sorted(_names(held)) else wanted


def _level(user: dict[str, Any]) -> str | None:
    """The common level on all databases; `readwrite` without any; None: levels differ."""
    found = {role["role"] for role in _held(user) if _is_of_ours(role)}
    if not found:
        return "readwrite"
    return next(level for level, role in ROLES.items() if role in found) if len(found) == 1 else None


def _is_updated(here: MongoDB, name: str, wanted: Roles | None, password: str | None) -> Any:
    def done() -> bool:
        user = find(here, name)
        if user is None or (wanted is not None and sorted(_names(_held(user))) != sorted(_names(wanted))):
            return False
        if password is not None:
            here.log_in(name, password)
        return True

    return done


def _is_of_ours(role: dict[str, str]) -> bool:
    return role["role"] in ROLES.values() and role["db"] not in OF_THE_SERVER


def _is_own(here: MongoDB, name: str) -> bool:
    own = here.command("connectionStatus")["authInfo"]["authenticatedUsers"]
    return {"user": name, "db": USERS} in own


def _prove(here: MongoDB, name: str, password: str) -> str:
    """Log in as the user. Raises `DatastoreRefused` if the server denies the login."""
    try:
        here.log_in(name, password)
    except DatastoreUnreachable as error:
        return f"only the roles: no login was possible: {error}"
    return "login"


def _roles(privileges: str, databases: Sequence[str]) -> Roles:
    return [{"role": ROLES[privileges], "db": database} for database in databases]


def _held(user: dict[str, Any]) -> Roles:
    return [{"role": str(each["role"]), "db": str(each["db"])} for each in user.get("roles", ())]


def _names(roles: Roles) -> list[str]:
    return [f"{each['role']}@{each['db']}" for each in roles]


def _described(roles: Roles) -> dict[str, Any]:
    return {"authSource": USERS, "roles": _names(roles)}
