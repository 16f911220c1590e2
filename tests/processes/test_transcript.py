"""The output of an action in files: bounded, split at characters, masked, written by several processes."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from agent.jobs.jobs import ExitedJob, Jobs
from agent.processes import transcript_reading
from agent.processes.command import run
from agent.processes.recording import Recorded, recording
from agent.processes.transcript import Masking, Transcript

LIMIT = 4096
SECRET = "correct-horse-staple"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "output" / "a-1"


def everything(folder: Path, limit: int = 512) -> bytes:
    """The complete output, read in pieces."""
    text, offset = b"", 0
    while (piece := transcript_reading.read(folder, offset, limit)).text:
        assert piece.next == piece.offset + len(piece.text)
        piece.text.decode()
        text, offset = text + piece.text, piece.next
    return text


def size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


def test_transcript_without_output_has_no_file(folder: Path) -> None:
    assert transcript_reading.read(folder, 0, 100) == (b"", 0, 0, 0, False)
    assert transcript_reading.end(folder) == 0
    with Transcript(folder, LIMIT).stream():
        pass
    assert not folder.exists()


def test_a_transcript_is_read_from_any_offset(folder: Path) -> None:
    Transcript(folder, LIMIT).say("one two")
    assert transcript_reading.read(folder, 4, 100) == (b"two\n", 4, 8, 8, False)
    assert transcript_reading.read(folder, 4, 2) == (b"tw", 4, 6, 8, False)
    assert transcript_reading.read(folder, -3, 100) == (b"wo\n", 5, 8, 8, False)
    assert transcript_reading.read(folder, -100, 100).text == b"one two\n"
    assert transcript_reading.read(folder, 100, 100) == (b"", 8, 8, 8, False)


def test_utf_8_characters_are_never_split(folder: Path) -> None:
    text = "".join(random.Random(1).choices("aé€😀\n", k=3000))
    with Transcript(folder, 64 * LIMIT).stream() as add:
        data = text.encode()
        for at in range(0, len(data), 7):
            add(data[at : at + 7])
    assert everything(folder, 5).decode() == text


def test_bytes_that_are_not_utf_8_are_replaced(folder: Path) -> None:
    with Transcript(folder, LIMIT).stream() as add:
        add(b"a\xff\xc3")
    assert transcript_reading.read(folder, 0, 100).text.decode() == "a\ufffd\ufffd"


def test_the_beginning_and_the_end_of_a_long_output_are_kept(folder: Path) -> None:
    lines = [f"line {number}\n".encode() for number in range(1500)]
    with Transcript(folder, LIMIT).stream() as add:
        for line in lines:
            add(line)
            assert size(folder) <= LIMIT
    printed, kept = b"".join(lines), everything(folder)
    assert LIMIT / 2 <= len(kept) <= LIMIT
    first = transcript_reading.read(folder, 0, LIMIT)
    assert first.truncated and first.next < LIMIT and printed.startswith(first.text)
    rest = transcript_reading.read(folder, first.next, LIMIT)
    assert rest.offset > first.next and rest.next == rest.end == len(printed)
    assert printed.endswith(rest.text)


def test_following_reader_misses_no_output(folder: Path) -> None:
    seen, offset = b"", 0
    with Transcript(folder, LIMIT).stream() as add:
        for number in range(1000):
            add(f"line {number}\n".encode())
            piece = transcript_reading.read(folder, offset, LIMIT)
            assert piece.offset == offset
            seen, offset = seen + piece.text, piece.next
    assert seen == b"".join(f"line {number}\n".encode() for number in range(1000))


def test_several_writers_share_an_output(folder: Path) -> None:
    def write(name: str) -> None:
        for number in range(200):
            Transcript(folder, 64 * LIMIT).say(f"{name} {number}")

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    lines = everything(folder).decode().splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in "abc" for number in range(200))


def test_output_lost_to_a_write_error_is_marked_as_truncated(folder: Path) -> None:
    written = Transcript(folder, LIMIT)
    written.say("before")
    folder.rename(folder.with_name("aside"))
    folder.parent.chmod(0o700)
    folder.write_text("no folder")
    written.say("lost")
    folder.unlink()
    folder.with_name("aside").rename(folder)
    written.say("after")
    piece = transcript_reading.read(folder, 0, 100)
    assert piece.text == b"before\n" and piece.truncated
    assert transcript_reading.read(folder, piece.next, 100).text == b"after\n"


@pytest.mark.parametrize("length", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("secret", [SECRET, "se€ret-😀-word", "short", "aab", "aaaaaaab"])
def test_secrets_are_masked_across_any_split_of_the_output(folder: Path, secret: str, length: int) -> None:
    text = f"a\nit is {secret}!\nthe end {secret[:-1]}\n{secret}".encode()
    with Transcript(folder, LIMIT, [secret]).stream() as add:
        for at in range(0, len(text), length):
            add(text[at : at + length])
    shown = everything(folder).decode()
    assert secret not in shown and shown.startswith("a\n") and f"the end {secret[:-1]}\n" in shown
    assert shown.endswith("\n********")
    assert ("it is ********!\n" if len(secret.encode()) >= 8 else "\n********\n") in shown


def test_only_a_possible_start_of_a_secret_is_held_back() -> None:
    mask = Masking([SECRET])
    assert mask.add(b"password: ") == b"password: "
    assert mask.add(b"correct-") == b""
    assert mask.add(b"ion\n") == b"correct-ion\n"
    assert mask.add(b"corr") == b"" and mask.rest() == b"corr"


def test_long_line_with_short_secrets_is_not_held_back_without_limit() -> None:
    mask = Masking(["pin1"])
    shown = b"".join(mask.add(b"x" * 1000) for _ in range(200)) + mask.add(b"pin1\n") + mask.rest()
    assert b"pin1" not in shown and shown.count(b"x") > 100_000


def test_only_commands_with_recorded_are_recorded(folder: Path) -> None:
    with recording(Transcript(folder, LIMIT)):
        run(["sh", "-c", "echo one; echo two >&2"], timeout=10, recorded=Recorded("$ first"))
        run(["sh", "-c", "echo answer; echo three >&2"], timeout=10, recorded=Recorded(stdout=False))
        run(["echo", "looked"], timeout=10)
    run(["echo", "elsewhere"], timeout=10, recorded=Recorded())
    assert everything(folder).decode().splitlines() == ["$ first", "one", "two", "three"]


def test_output_of_a_job_is_recorded_by_its_runner(folder: Path, tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    with recording(Transcript(folder, LIMIT, [SECRET])):
        job = jobs.start("a", ["sh", "-c", f"echo {SECRET}; echo end >&2"], recorded=Recorded("$ sh"))
    assert isinstance(job.await_end(20), ExitedJob)
    assert everything(folder) == b"$ sh\n********\nend\n"
    assert not any(SECRET.encode() in each.read_bytes() for each in folder.iterdir())


def test_job_that_cannot_start_has_the_reason_in_its_output(folder: Path, tmp_path: Path) -> None:
    with recording(Transcript(folder, LIMIT)):
        job = Jobs(tmp_path / "jobs").start("a", ["/nowhere/program"], recorded=Recorded())
    assert isinstance(job.await_end(20), ExitedJob)
    assert everything(folder) == b"/nowhere/program was not found\n"
