"""Pushes whose deliveries arrive late: the current commit of a branch or tag is deployed, and nothing older."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, eventually
from tests.hooks.pushing import deliver, encoded, hooked, push, taken
from tests.servers.shop import Origin


class Pushed:
    """A repository, and an agent whose hooks deploy its commits."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.origin = Origin(directory)
        config = hooked(directory).replace("shop.git", self.origin.path.name)
        self.agent = AgentProcess(directory, config=config).start()

    def commit(self, version: str, branch: str = "main") -> str:
        return self.origin.commit({"version": version}, branch)

    def deliver(self, after: str, ref: str = "refs/heads/main", application: str = "shop") -> Any:
        """The action of a push, once it is final."""
        begun = taken(deliver(self.agent, encoded(push(after=after, ref=ref)), application))
        path = f"/api/3/stacks/default/actions/{begun['id']}"

        def ended() -> Any:
            action = self.agent.get(path).json["response"]
            return action if action["finished_at"] else None

        action = eventually(ended, "its end", 30)
        assert action["finished_success"], action
        return action

    def current(self, folder: str = "shop") -> str:
        return (self.directory / folder / "current/version").read_text()


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    made = Pushed(tmp_path_factory.mktemp("pushed"))
    yield made
    made.agent.close()


@pytest.mark.parametrize("order", ["as pushed", "turned round"])
def test_last_push_is_deployed_for_any_order_of_the_deliveries(pushed: Pushed, order: str) -> None:
    first = pushed.commit("first")
    before = pushed.deliver(first)["finished_result"]
    assert (pushed.current(), before["git_hash"]) == ("first", first)
    older, newer = pushed.commit("older"), pushed.commit("newer")
    deliveries = [older, newer] if order == "as pushed" else [newer, older]
    ends = {after: pushed.deliver(after) for after in deliveries}
    assert pushed.current() == "newer"
    assert ends[newer]["finished_result"]["git_hash"] == newer
    assert ends[newer]["finished_result"]["previous_git_hash"] == first
    assert ends[older]["finished_result"] == {
        "deploy_session": f"deploy-session-{ends[older]['id']}", "git_hash": older, "overtaken_by": newer,
        "servers_deployed": 0, "previous_git_hash": first if order == "as pushed" else newer,
        "application": "shop", "release": None, "services": [],
    }  # fmt: skip
    assert ends[older]["finished_message"] == (
        f"commit {older} was overtaken and is not deployed: refs/heads/main points to commit {newer} by now; "
        "shop is unchanged"
    )


def test_push_that_was_reverted_or_whose_branch_is_gone_is_not_deployed(pushed: Pushed) -> None:
    ref = "refs/heads/release-größe(1)"
    branch = ref.removeprefix("refs/heads/")
    pushed.commit("before", branch)
    taken_back = pushed.commit("taken back", branch)
    pushed.origin.git("reset", "--quiet", "--hard", "HEAD~1")
    stays = pushed.commit("stays", branch)
    assert pushed.deliver(taken_back, ref, "team/shop")["finished_result"]["overtaken_by"] == stays
    assert pushed.deliver(stays, ref, "team/shop")["finished_result"]["git_hash"] == stays
    gone = pushed.commit("gone", branch)
    pushed.origin.git("push", "--quiet", "--delete", "origin", branch)
    action = pushed.deliver(gone, ref, "team/shop")
    assert action["finished_result"]["overtaken_by"] is None
    assert f": {ref} no longer exists; " in action["finished_message"]
    assert pushed.current("team") == "stays"


def test_annotated_tag_deploys_its_commit(pushed: Pushed) -> None:
    commit = pushed.commit("tagged")
    pushed.origin.tag("v1", "--annotate", "--message=one")
    tag = pushed.origin.git("rev-parse", "v1")
    assert tag != commit
    result = pushed.deliver(tag, "refs/tags/v1", "team/shop")["finished_result"]
    assert (result["git_hash"], result["servers_deployed"], pushed.current("team")) == (commit, 1, "tagged")
