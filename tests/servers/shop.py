"""A small application to deploy: its repository, and the files that a node needs for two units behind nginx."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.servers.process import run

AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "shop"), ("EMAIL", "shop@example.com"))
}
ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}

SHOP = """
import signal, sys, threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

def app(environ, start_response):
    start_response("{status}", [("Content-Type", "text/plain")])
    return [b"{version}"]

server = make_server("127.0.0.1", 9000 + int(sys.argv[1]), app, handler_class=Quiet)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.02)
"""

UNIT = """
[Service]
User=www-data
ExecStartPre=+/bin/sh -c "echo %i >> /starts; while [ -e /start.hold ]; do sleep 0.05; done"
ExecStart=/usr/bin/python3 /srv/shop/current/shop.py %i
TimeoutStopSec=5
Restart=always
RestartSec=100ms
"""
# The health check of a deploy: the unit's own port must answer, unless a test delays it.
HEALTH = """#!/bin/sh
number=${AGENT_UNIT#shop@}
[ ! -e /health.hold ] && exec curl --silent --fail --max-time 2 "http://127.0.0.1:900${number%.service}/"
"""
# A server that did not answer is tried again at once: with two servers, one of them down for a moment, both
# could otherwise be left out at the same time.
NGINX = """
pid /run/nginx.pid;
events {}
http {
    access_log off;
    upstream shop {
        server 127.0.0.1:9001 max_fails=0;
        server 127.0.0.1:9002 max_fails=0;
    }
    server {
        listen 127.0.0.1:8080;
        location / {
            proxy_pass http://shop;
            proxy_next_upstream error timeout http_503;
        }
    }
}
"""


def shop(version: str, status: str = "200 OK") -> dict[str, str]:
    """The files of a version that answers with its name and this status."""
    return {"shop.py": SHOP.replace("{version}", version).replace("{status}", status)}


class Origin:
    """A bare repository with a working copy for commits."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "origin.git"
        self._copy = directory / "copy"
        run(["git", "init", "--quiet", "--bare", "--initial-branch=main", self.path], env=os.environ | ALONE)
        run(["git", "clone", "--quiet", self.path, self._copy], env=os.environ | ALONE)

    def commit(self, files: Mapping[str, str | bytes], branch: str = "main") -> str:
        """Commit exactly these files to a branch, and push it; the commit's hash."""
        self.git("checkout", "--quiet", "-B", branch)
        self.git("rm", "-r", "--quiet", "--ignore-unmatch", ".")
        for name, content in files.items():
            file = self._copy / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a version")
        self.git("push", "--quiet", "--force", "origin", branch)
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, *options: str) -> None:
        """Tag the last commit."""
        self.git("tag", *options, name)
        self.git("push", "--quiet", "origin", name)

    def git(self, *words: str) -> str:
        """The output of git in the working copy; RuntimeError if it fails."""
        return run(["git", "-C", self._copy, *words], env=os.environ | AUTHOR | ALONE).strip()
