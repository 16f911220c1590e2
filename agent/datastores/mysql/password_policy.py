"""Check a password by the rules of MySQL's validate_password: the server cannot check a hash."""

from __future__ import annotations

from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql.session import Session


def check(session: Session, name: str, password: str) -> None:
    """Raises `DatastoreRefused` for a broken rule. The dictionary of the policy STRONG is not checked."""
    rows = session.run("SHOW GLOBAL VARIABLES LIKE %s", "validate_password%")
    rules = {str(row["Variable_name"]).removeprefix("validate_password")[1:]: str(row["Value"]) for row in rows}
    if not rules:
        return
    broken = [
        f"{rule} = {rules[rule]}"
        for rule, count in _counts(password).items()
        if (rule == "length" or rules["policy"] != "LOW") and count < int(rules[rule])
    ]
    if rules.get("check_user_name") == "ON" and password in (name, name[::-1]):
        broken.append("check_user_name = ON")
    if broken:
        raise DatastoreRefused(f"the password breaks the server's rules: validate_password.{', '.join(broken)}")


def _counts(password: str) -> dict[str, int]:
    return {
        "length": len(password),
        "mixed_case_count": min(sum(map(str.islower, password)), sum(map(str.isupper, password))),
        "number_count": sum(map(str.isdigit, password)),
        "special_char_count": sum(not each.isalnum() for each in password),
    }
