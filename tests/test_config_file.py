"""systemd/agent.toml documents every option."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from agent import config
from agent.config import reference

CHECKOUT = Path(__file__).parent.parent
SHIPPED = CHECKOUT / "systemd" / "agent.toml"


def test_shipped_file_is_generated_from_the_options() -> None:
    assert SHIPPED.read_text() == reference.document(), "run: make docs (agentctl config show > systemd/agent.toml)"


def test_shipped_file_gives_the_defaults() -> None:
    assert config.parse(tomllib.loads(SHIPPED.read_text())) == config.Settings()


def test_shipped_file_is_valid_with_every_comment_removed() -> None:
    whole = re.sub(r"^#(?=[a-z\[])", "", SHIPPED.read_text(), flags=re.MULTILINE)
    settings = config.parse(tomllib.loads(whole))
    assert settings.api.tls is not None
    assert settings.service is not None
    assert settings.datastore is not None
    assert list(settings.external_actions) == ["vacuum.full"]


def test_shipped_file_has_every_option_with_its_help() -> None:
    text = SHIPPED.read_text()
    for section in [*config.TABLES.values(), *config.NAMED_TABLES.values(), config.Tls]:
        for option in [each for each in fields(section) if "section" not in each.metadata]:
            assert f"# {option.metadata['help']}\n" in text
            assert re.search(rf"^#?{option.name} = ", text, re.MULTILINE)
