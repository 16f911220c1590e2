"""Change one user of MySQL or MariaDB: password, databases, privileges, lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.datastores.base import DatastoreError, UserChanges, agreed
from agent.datastores.mysql import databases, grants, login, password_policy, passwords, users
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.grants import Account
from agent.datastores.mysql.session import OutOfTime, Row, Session
from agent.models import Json
from agent.plan import Plan, Would, refuse

SHA2 = "caching_sha2_password"
STORED = (
    "SELECT user AS user, host AS host, plugin AS plugin, CAST(authentication_string AS BINARY) AS hash "
    "FROM mysql.user WHERE user = %s"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted grants of one account: the level on each database, by the pattern of the grant. `dropped` are
    patterns to revoke.
    """

    account: Account
    before: Mapping[str, set[str]]
    given: Mapping[str, str]
    dropped: Sequence[str]

    @property
    def changes(self) -> bool:
        return bool(self.given or self.dropped)


def plan(session: Session, name: str, changes: UserChanges) -> Plan:
    """What `update` would do now."""
    found = users.accounts(session, name)
    if (refusal := _refusal(session, name, found, changes)) is not None:
        return refusal
    ended = len(_reduced(session, name, changes))
    steps = [f"{verb} {what}" for verb, what in _steps(changes)]
    return Plan(
        Would.DISRUPT if ended else Would.CHANGE,
        f"the user {name} would be changed",
        steps=[*steps, *([f"end {ended} connections to databases with fewer privileges"] if ended else [])],
        facts={"accounts": [f"{user}@{host}" for user, host in found], "connections_ended": ended},
    )


def update(session: Session, at: Address, timeout: float, name: str, changes: UserChanges) -> Json:
    """Change the grants first, which can be restored; then password and lock of all accounts in one statement."""
    agreed(plan(session, name, changes))
    if changes.password is not None:
        password_policy.check(session, name, changes.password)
    accounts = users.accounts(session, name)
    stale = _reduced(session, name, changes)
    wanted = [_wanted(session, account, changes) for account in accounts]
    try:
        for each in wanted:
            _grant(session, each)
        _alter(session, accounts, changes)
    except OutOfTime:
        raise  # this connection is lost
    except DatastoreError:
        for each in filter(lambda each: each.changes, wanted):
            grants.put_back(session, each.account, each.before)
        raise
    databases.end(session, stale)  # a connection keeps its privileges on its current database
    return {
        "accounts": [f"{user}@{host}" for user, host in accounts],
        "connections_ended": len(stale),
        "connections_left": len(databases.connections(session, user=name)),
        **_proof(at, timeout, name, accounts, changes),
    }


def _refusal(session: Session, name: str, found: Sequence[Account], changes: UserChanges) -> Plan | None:
    if not found:
        return refuse(f"no user is called {name}", "check the name, or use database_user_create")
    if name in users.OF_THE_SERVER:
        return refuse(f"the user {name} belongs to the server and is not changed", "name a user of an application")
    if str(session.value("SELECT CURRENT_USER()")).rpartition("@")[0] == name:
        return refuse(f"the user {name} is the agent's own", "change it by hand, and its password file with it")
    if (refusal := users.refuse_databases(session, changes.databases or ())) is not None:
        return refusal
    if (
        changes.databases is not None
        and changes.privileges is None
        and any(_level(session, grants.held(session, account)) is None for account in found)
    ):
        return refuse(
            f"the user {name} has different privileges in its databases",
            "name `privileges`: readonly, readwrite or owner",
        )
    return _refuse_rotation(session, name, changes) if changes.keep_old_password else None


def _refuse_rotation(session: Session, name: str, changes: UserChanges) -> Plan | None:
    """Refuse to keep the old password if its plugin differs: MySQL keeps only one of the same plugin."""
    if session.dialect.product != "MySQL":
        return refuse(
            "MariaDB cannot keep the old password of a user valid together with the new one",
            "leave keep_old_password out, or create a second user, move the application over and delete the first",
        )
    others = {str(row["plugin"]) for row in _stored(session, name)} - {SHA2}
    if others:
        return refuse(
            f"the present password of {name} uses the plugin {', '.join(sorted(others))}: MySQL cannot keep it",
            "change the password once without keep_old_password",
        )
    return None


def _steps(changes: UserChanges) -> list[tuple[str, str]]:
    steps = []
    if changes.databases is not None:
        steps.append(("grant exactly", ", ".join(changes.databases) or "no database"))
    if changes.privileges is not None:
        steps.append(("grant there", changes.privileges))
    if changes.password is not None:
        steps.append(("set", "the password" + (", the old one stays valid" if changes.keep_old_password else "")))
    if changes.locked is not None:
        steps.append(("lock" if changes.locked else "unlock", "the user"))
    return steps


def _wanted(session: Session, account: Account, changes: UserChanges) -> Wanted:
    before = grants.held(session, account)
    if changes.databases is None and changes.privileges is None:
        return Wanted(account, before, {}, ())
    level = changes.privileges or str(_level(session, before))
    if changes.databases is None:
        return Wanted(account, before, dict.fromkeys(before, level), ())
    patterns = [grants.pattern(session, str(databases.find(session, each))) for each in changes.databases]
    return Wanted(account, before, dict.fromkeys(patterns, level), [each for each in before if each not in patterns])


def _level(session: Session, held: Mapping[str, set[str]]) -> str | None:
    """The common level on all databases; `readwrite` without any; None: levels differ or have no name."""
    levels = {grants.level(session, privileges) for privileges in held.values()}
    return levels.pop() if len(levels) == 1 else (None if levels else "readwrite")


def _reduced(session: Session, name: str, changes: UserChanges) -> list[Row]:
    """The connections to databases on which the user loses privileges."""
    less: set[str] = set()
    for account in users.accounts(session, name):
        wanted = _wanted(session, account, changes)
        less |= set(wanted.dropped)
        less |= {
            each for each, level in wanted.given.items()
            if wanted.before.get(each, set()) - grants.privileges_of(session, level)
        }  # fmt: skip
    return [
        row
        for row in databases.connections(session, user=name)
        if row["db"] is not None and grants.pattern(session, row["db"]) in less
    ]


def _grant(session: Session, wanted: Wanted) -> None:
    for where, level in wanted.given.items():
        grants.grant_at(session, wanted.account, where, level)
    for where in wanted.dropped:
        grants.revoke(session, wanted.account, where)


def _alter(session: Session, accounts: Sequence[Account], changes: UserChanges) -> None:
    """One statement for all accounts. A repetition does not keep the new password as the old one."""
    flat = [part for account in accounts for part in account]
    lock = {None: "", True: " ACCOUNT LOCK", False: " ACCOUNT UNLOCK"}[changes.locked]
    if changes.password is None or (changes.keep_old_password and _is_set(session, accounts, changes.password)):
        if lock:
            session.run(f"ALTER USER {', '.join(['%s@%s'] * len(accounts))}{lock}", *flat)
        return
    dialect = session.dialect
    hashed = dialect.hash_password(changes.password)
    keep = " RETAIN CURRENT PASSWORD" if changes.keep_old_password else ""
    each = f"%s@%s {dialect.identified}{keep}"
    values = [part for account in accounts for part in (*account, hashed)]
    session.run(f"ALTER USER {', '.join([each] * len(accounts))}{lock}", *values, secret=hashed)
    if not changes.keep_old_password and dialect.product == "MySQL":
        session.run(f"ALTER USER {', '.join(['%s@%s DISCARD OLD PASSWORD'] * len(accounts))}", *flat)


def _is_set(session: Session, accounts: Sequence[Account], password: str) -> bool:
    """Whether all accounts already have this password."""
    stored = _stored(session, accounts[0][0])
    return all(passwords.matches(password, bytes(row["hash"])) for row in stored)


def _stored(session: Session, name: str) -> list[Row]:
    rows = session.run(STORED, name)
    return [row for row in rows if row["user"] == name and row["host"] != users.UNFINISHED]


def _proof(at: Address, timeout: float, name: str, accounts: Sequence[Account], changes: UserChanges) -> dict[str, str]:
    """Log in with the new password, if a login from this host is possible."""
    if changes.password is None or changes.locked or (name, users.ANYWHERE) not in accounts:
        return {}
    account = f"{name}@{users.ANYWHERE}"
    return {"proved_by": login.prove(at, timeout, account, changes.password, changes.databases or ())}
