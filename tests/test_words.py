"""Plain technical English: words of the private idiom are refused."""

import re
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
REFUSED = re.compile(
    r"\b(told|tells|nobody|somebody|whoever|of before|for ever|be it|goes on|under way|lest|anew|whence"
    r"|is asked of|has no word|besides)\b",
    re.IGNORECASE,
)
READ = ("agent", "docs", "systemd", "README.rst", "gunicorn.conf.py", "wsgi.py")


def test_code_messages_and_documentation_have_no_refused_word() -> None:
    listing = subprocess.run(["git", "ls-files", "--", *READ], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    paths = listing.stdout.split()
    assert len(paths) > 300
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate((CHECKOUT / path).read_text().splitlines(), 1)
        if REFUSED.search(line)
    ]
    assert found == [], "write it in the words of STYLE section 5:\n" + "\n".join(found)


def test_refused_words_are_found() -> None:
    assert REFUSED.search("Nobody tells")
    assert not REFUSED.search("untold, anewer")
