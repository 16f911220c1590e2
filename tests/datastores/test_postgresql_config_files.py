"""The settings in the configuration files of a PostgreSQL, including included files."""

from pathlib import Path

import pytest

from agent.datastores.postgresql.config_files import lines_of, name_in


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """The names in `postgresql.conf`, which includes what the tests write beside it."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "b.conf").write_text("restore_command = 'cp'\n")
    (folder / "a.conf").write_text("include '../more.conf'\n")
    (folder / ".hidden.conf").write_text("recovery_target = 'immediate'\n")
    (folder / "other.txt").write_text("recovery_target_name = 'x'\n")
    (tmp_path / "more.conf").write_text("Max_Connections = 7\n")
    (tmp_path / "postgresql.conf").write_text(
        "port = 5432\ninclude_dir = 'conf.d'\ninclude_if_exists 'gone.conf'\ninclude = 'missing.conf'\n#fsync = off\n"
    )
    return [name_in(line) for line in lines_of(tmp_path / "postgresql.conf")]


def test_included_files_and_folders_are_read_like_the_server(names: list[str]) -> None:
    assert names == ["port", "max_connections", "restore_command", "include", "#fsync"]


def test_recursive_include_is_kept_as_a_line(tmp_path: Path) -> None:
    (tmp_path / "postgresql.conf").write_text("include 'postgresql.conf'\n")
    assert list(lines_of(tmp_path / "postgresql.conf")) == ["include 'postgresql.conf'"]
