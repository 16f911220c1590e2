"""Creates the agent's role in PostgreSQL by psql, as the owner of the server's data."""

from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup import programs
from agent.cli.setup.accounts.account import Account
from agent.cli.setup.change import Change, Note
from agent.cli.setup.host import Server

PORT_LINE, SOCKET_LINE = 3, 4
"""Lines of postmaster.pid, from 0."""
CREATE = """\
CREATE ROLE :"user" LOGIN CREATEDB CREATEROLE;
GRANT pg_monitor TO :"user";
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO :"user";
"""
CREATE_15 = """\
GRANT pg_checkpoint TO :"user";
GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name, restore_command TO :"user";
"""
DROP = """\
DROP OWNED BY :"user";
DROP ROLE :"user";
"""
EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = :'user';"
OWNS = """\
SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND r.rolname = :'user';
"""


def account(server: Server, user: str) -> Account:
    """No new account for the owner of the server, who is its superuser; any other user gets a role of its name."""
    lines = (server.folder / "postmaster.pid").read_text().splitlines()
    port, folder = lines[PORT_LINE].strip(), lines[SOCKET_LINE].strip().partition(",")[0]
    options = {
        "url": f"postgresql://{user}@/postgres?host={folder}&port={port}",
        "data_directory": str(server.folder),
    }
    psql = ["runuser", "-u", server.owner, "--", str(_program(server.program)), "-h", folder, "-p", port]
    if user == server.owner:
        _run(psql, "SELECT 1;", user)  # raises before anything is changed if the login fails
        return Account(options)
    note: Note = {"what": "account", "datastore": "postgresql", "user": user, "psql": psql}
    if not _exists(psql, user) and _run(psql, "SELECT pg_is_in_recovery();", user) == "t":
        raise Usage(f"this server is a standby without the role {user}: run agentctl setup on its primary first")
    return Account(
        options,
        (
            Change(
                f"create the role {user} in PostgreSQL: LOGIN CREATEDB CREATEROLE, pg_monitor, and the functions of a "
                "promotion; peer authentication, no password",
                lambda: _exists(psql, user),
                lambda: _create(psql, user),
                note,
            ),
        ),
    )


def undo(note: Note) -> str:
    """Drop the role; keep one that owns databases, tables or anything else. Returns what was done. Raises `Usage`."""
    psql, user = note["psql"], note["user"]
    if not _exists(psql, user):
        return ""
    if _run(psql, OWNS, user) != "0":
        what = "it owns databases or tables; run REASSIGN OWNED, then DROP ROLE"
        return f"kept the role {user} of PostgreSQL: {what}"
    _run(psql, f"BEGIN;\n{DROP}COMMIT;\n", user)
    return f"dropped the role {user} of PostgreSQL"


def _create(psql: list[str], user: str) -> None:
    if _exists(psql, user):
        return
    newer = CREATE_15 if int(_run(psql, "SHOW server_version_num;", user)) >= 150000 else ""
    _run(psql, f"BEGIN;\n{CREATE}{newer}COMMIT;\n", user)


def _exists(psql: list[str], user: str) -> bool:
    return _run(psql, EXISTS, user) == "1"


def _run(psql: list[str], statements: str, user: str) -> str:
    """The output; psql itself quotes the variable `user`. Raises `Usage` with psql's message."""
    argv = [*psql, "-XAtqw", "-v", "ON_ERROR_STOP=1", "-v", f"user={user}", "-d", "postgres", "-f", "-"]
    try:
        return programs.run(argv, input=statements, name="psql as the owner of the server").strip()
    except Usage as error:
        hint = "; setup needs peer authentication of the owner in pg_hba.conf" if "no password" in str(error) else ""
        raise Usage(f"{error}{hint}") from None


def _program(server: Path) -> Path:
    """The psql of this server's version."""
    beside = server.with_name("psql")
    return beside if beside.exists() else Path("psql")
