"""A real Prometheus that scrapes one agent."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from tests.servers.process import await_that, free_port, program, start_process

PATIENCE = 90.0
"""The time limit in seconds, also for a busy machine."""


class Prometheus:
    """Listens on the loopback, keeps its data in `dir`, and scrapes `target` every second with the rules of a file."""

    def __init__(self, dir: Path, target: str, rules: Path) -> None:
        self.dir = dir
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (dir / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{json.dumps(str(rules))}]\n"
            f"scrape_configs:\n  - job_name: agent\n    static_configs: [{{targets: [{json.dumps(target)}]}}]\n"
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = start_process(
            [
                program("prometheus"),
                f"--config.file={self.dir}/prometheus.yml",
                f"--storage.tsdb.path={self.dir}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            self.dir / "prometheus.log",
        )
        await_that(self._answers, PATIENCE, "Prometheus")

    def stop(self) -> None:
        """End it by its pid."""
        if self._process is not None:
            self._process.kill()  # its data is not needed
            self._process.wait()

    def query(self, expression: str) -> list[Any]:
        """The result of an instant query. `ValueError` with the message of Prometheus if the query is invalid."""
        return list(self._get("query", query=expression)["result"])

    def rules(self) -> list[Any]:
        """Every rule as Prometheus evaluates it."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _answers(self) -> bool:
        with suppress(URLError, OSError, ValueError):
            return bool(self.query("vector(1)"))
        return False

    def _get(self, name: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{name}?{urlencode(query)}"
        with build_opener(ProxyHandler({})).open(url, timeout=30) as answer:
            found = json.load(answer)
        if found["status"] != "success":
            raise ValueError(found)
        return found["data"]
