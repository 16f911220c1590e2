"""The options of an application that `deploy` deploys."""

from dataclasses import dataclass
from pathlib import Path

from agent.config import git_names, validators
from agent.config.option import option, required


@dataclass(frozen=True)
class Application:
    """An application that `deploy` deploys, by its name."""

    repository: str = required(
        git_names.repository,
        "The git repository, for its branches and tags; submodules and Git LFS are not supported.",
        '"https://git.example.com/shop.git"',
    )
    path: Path = required(
        validators.absolute_path,
        "The folder of the releases and of `current`, the link to the release in use.",
        '"/srv/shop"',
    )
    ref: str = option("main", git_names.git_ref, "The default branch, tag or commit to deploy.")
    services: tuple[str, ...] = option(
        (),
        validators.units,
        "The units of the application, restarted after the switch.",
        '["shop@1.service", "shop@2.service"]',
    )
    strategy: str = option(
        "rolling", validators.one_of("rolling", "parallel", "none"), "How the units are restarted by default."
    )
    before: tuple[tuple[str, ...], ...] = option(
        (), validators.commands, "Commands to run in the new release before the switch.", '[["/usr/bin/make", "build"]]'
    )
    after: tuple[tuple[str, ...], ...] = option(
        (),
        validators.commands,
        "Commands to run in the new release when its units are up.",
        '[["/usr/bin/make", "warm"]]',
    )
    health: tuple[str, ...] = option(
        (),
        validators.command,
        "A command that succeeds when the unit $AGENT_UNIT is healthy; repeated until it succeeds.",
        '["/usr/local/bin/shop-is-healthy"]',
    )
    health_timeout: float = option(
        60.0, validators.positive_number, "Seconds in which a restarted unit must be up and healthy."
    )
    timeout: float = option(600.0, validators.positive_number, "Timeout of git and of each command, in seconds.")
    keep: int = option(5, validators.positive_integer, "How many releases are kept.")
    ssh_key: Path | None = option(
        None, validators.secret_file, "The private key for the repository.", '"credential:shop-key"'
    )
    known_hosts: Path | None = option(
        None,
        validators.known_hosts,
        "The host keys for ssh, in place of those of the agent's user.",
        '"/etc/agent/known_hosts"',
    )
    credentials: Path | None = option(
        None,
        validators.secret_file,
        "User and password for the repository, as a line of git's credential store.",
        '"credential:shop-git"',
    )
    hook_secret: Path | None = option(
        None,
        validators.secret_file,
        "A file with the secret that signs hooks; without it the application has no hook.",
        '"credential:shop-hook"',
    )
    hook_refs: tuple[str, ...] = option(
        ("refs/heads/main",),
        validators.texts,
        "Globs of the refs that a hook deploys; pushes to other refs are ignored.",
    )
