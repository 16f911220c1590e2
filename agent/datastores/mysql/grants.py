"""Grant, revoke and read the database privileges of an account of MySQL or MariaDB."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.datastores.mysql.session import Row, Session

PRIVILEGES = {
    "readonly": "SELECT, SHOW VIEW",
    "readwrite": "SELECT, SHOW VIEW, INSERT, UPDATE, DELETE, EXECUTE, LOCK TABLES, CREATE TEMPORARY TABLES",
    "owner": "ALL PRIVILEGES",
}
IRREGULAR = {"create tmp table": "CREATE TEMPORARY TABLES"}
"""Columns of `mysql.db` whose name differs from the privilege."""

Account = tuple[str, str]


def pattern(session: Session, database: str) -> str:
    """The pattern for one database: GRANT treats `_` and `%` as wildcards, unless partial revokes are on."""
    if session.dialect.product == "MySQL" and session.value("SELECT @@partial_revokes"):
        return database
    return re.sub(r"([\\_%])", r"\\\1", database)


def held(session: Session, account: Account) -> dict[str, set[str]]:
    """The privileges of an account by database pattern."""
    rows = session.run("SELECT * FROM mysql.db WHERE user = %s AND host = %s", *account)
    return {str(row["Db"]): _privileges(row) for row in rows if (row["User"], row["Host"]) == account}


def level(session: Session, privileges: set[str]) -> str | None:
    """The level in `PRIVILEGES` with exactly these privileges, or None."""
    return next((name for name in PRIVILEGES if privileges == privileges_of(session, name)), None)


def grant(session: Session, account: Account, database: str, privileges: str) -> None:
    """Set exactly the privileges of this level on one database."""
    grant_at(session, account, pattern(session, database), privileges)


def grant_at(session: Session, account: Account, where: str, privileges: str) -> None:
    """Set exactly these privileges for a pattern: first grant, then revoke, so that the account always has some."""
    before = held(session, account).get(where, set())
    session.run(f"GRANT {PRIVILEGES[privileges]} ON {{}}.* TO %s@%s", *account, names=[where])
    if surplus := sorted(before - privileges_of(session, privileges)):
        session.run(f"REVOKE {', '.join(surplus)} ON {{}}.* FROM %s@%s", *account, names=[where])


def revoke(session: Session, account: Account, where: str) -> None:
    """Revoke all privileges on the databases of a pattern from `held`."""
    session.run("REVOKE ALL PRIVILEGES ON {}.* FROM %s@%s", *account, names=[where])
    if where in held(session, account):  # ALL PRIVILEGES does not include GRANT OPTION
        session.run("REVOKE GRANT OPTION ON {}.* FROM %s@%s", *account, names=[where])


def put_back(session: Session, account: Account, before: Mapping[str, set[str]]) -> None:
    """Restore exactly the privileges that `held` returned `before`."""
    for where in set(held(session, account)) - set(before):
        revoke(session, account, where)
    for where, privileges in before.items():
        listed = ", ".join(sorted(privileges - {"GRANT OPTION"})) or "USAGE"
        more = " WITH GRANT OPTION" if "GRANT OPTION" in privileges else ""
        session.run(f"GRANT {listed} ON {{}}.* TO %s@%s{more}", *account, names=[where])
        if surplus := sorted(held(session, account).get(where, set()) - privileges):
            session.run(f"REVOKE {', '.join(surplus)} ON {{}}.* FROM %s@%s", *account, names=[where])


def _all(session: Session) -> set[str]:
    """Every privilege on a database except GRANT OPTION."""
    columns = session.run("SHOW COLUMNS FROM mysql.db")
    return {_privilege(str(each["Field"])) for each in columns if str(each["Field"]).endswith("_priv")} - {
        "GRANT OPTION"
    }


def _privileges(row: Row) -> set[str]:
    return {_privilege(column) for column, value in row.items() if column.endswith("_priv") and value == "Y"}


def _privilege(column: str) -> str:
    words = column.removesuffix("_priv").replace("_", " ").lower()
    return IRREGULAR.get(words, "GRANT OPTION" if words == "grant" else words.upper())


def privileges_of(session: Session, privileges: str) -> set[str]:
    """The privileges of a level."""
    return _all(session) if privileges == "owner" else set(PRIVILEGES[privileges].split(", "))
