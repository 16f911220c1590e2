"""One deploy of one application, phase by phase."""

from collections.abc import Callable
from contextlib import suppress

from agent import log
from agent.deployments.failure import FAILURES, failure
from agent.deployments.releases import hash_of
from agent.deployments.rollout import FAILED, ended
from agent.deployments.underway import Progress, Underway
from agent.hosts import command
from agent.supervisors.base import CommandKilled

DONE, GIVEN_UP, OVERTAKEN = "done", "given up", "overtaken"
"""The phases in which there is nothing more to do."""


class Deployment(Underway):
    """One deploy. `go_on` does its next short piece, and all that must be known then is in the progress."""

    def go_on(self) -> Progress:
        """The progress after the next piece of work."""
        phase = self.progress["phase"]
        try:
            return PHASES[phase](self) | {"killed": 0}
        except CommandKilled as error:
            # By whoever stops the agent's unit: the piece is done again by the one that comes after us.
            if self._killed_too_often():
                return self._failed(phase, _words(error))
            return self.progress | {"killed": self.progress.get("killed", 0) + 1}
        except FAILURES as error:
            return self._failed(phase, _words(error))
        except Exception as error:
            # A mistake of ours must not leave a release in use that nobody looked at.
            log.step_raised(self._action, "deploy", error)
            return self._failed(phase, f"{type(error).__name__}: {error}")

    # Forward

    def fetch(self) -> Progress:
        """Bring the mirror up to date, and find the commit."""
        if not self._git("fetch", self.mirror.fetch(), self._prepare_fetch, self.mirror.discard):
            return self.progress
        if of_ref := self.progress.get("of_ref"):
            tip = self.mirror.find(of_ref, self._stop, self._action)
            if tip is None or tip != self.mirror.find(self.progress["git_ref"], self._stop, self._action):
                return self._overtaken(tip)
        force = self.progress.get("force", False)
        git_hash = self.mirror.resolve(self.progress["git_ref"], self._stop, self._action, force=force)
        self.mirror.refuse_files_elsewhere(git_hash, self._stop, self._action)
        return self._then("checkout", git_hash=git_hash, release=self.releases.named(git_hash))

    def _overtaken(self, tip: str | None) -> Progress:
        """Nothing is deployed: what `of_ref` points to by now is what another deploy is for."""
        previous = hash_of(self.releases.in_use())
        return self._then(OVERTAKEN, overtaken_by=tip, previous_git_hash=previous)

    def check_out(self) -> Progress:
        """Write the files of the commit into a folder of their own."""
        argv = self.mirror.check_out(self.progress["git_hash"], self._folder("release"))
        if not self._git("check out", argv, self._prepare_check_out, lambda: None):
            return self.progress
        previous = self.releases.in_use()
        return self._then("before", previous_release=previous, previous_git_hash=hash_of(previous))

    def before(self) -> Progress:
        """Run the commands before; the units are looked for as late as what may install them has run."""
        return self._commands(self.application.before, "switch")

    def switch(self) -> Progress:
        """Note the units, then point `current` to the release, once all of its files are on the disk."""
        if "units" not in self.progress:
            return self.progress | {"units": self._rollout("release").invocations(self.application.services)}
        synced = command.run(
            ["sync", "-f", "--", str(self._folder("release"))],
            timeout=self.application.timeout,
            stop=self._stop,
            action=self._action,
        )
        if not synced.ok:
            raise failure(synced)
        self.releases.switch(self.progress["release"])
        return self._then("restart")

    def restart(self) -> Progress:
        """Restart the units, by the strategy."""
        names, done = self._restarted(), self.progress["services"]
        if len(done) == len(names) and all(map(ended, done)):
            return self._then("after")
        rollout = self._rollout("release")
        advance = rollout.parallel if self.progress["deployment_strategy"] == "parallel" else rollout.rolling
        return self.progress | {"services": advance(names, done)}

    def after(self) -> Progress:
        """Run the commands after."""
        return self._commands(self.application.after, "prune")

    def prune(self) -> Progress:
        """Remove the oldest releases; what cannot be removed does not make the deploy a failure."""
        needed = [self.progress["release"], self.progress["previous_release"]]
        left = self.releases.sweep()
        for release in list(self.releases.superfluous(self.application.keep, needed)):
            if not (self._stop.requested or self.releases.remove(release)):
                left.append(release)
        return self._then(DONE, left=left)

    # Back

    def switch_back(self) -> Progress:
        """Point `current` to the release before, and find out which units have left it."""
        self.releases.switch(self.progress["previous_release"])
        left = self._rollout("previous_release").have_left(self._noted_units(), self.progress["services"])
        return self._then("rollback", back=[], restarted=left)

    def restart_back(self) -> Progress:
        """Restart what has left it, the one that failed first; a unit that fails again does not end it."""
        names, back = self.progress["restarted"], self.progress["back"]
        if len(back) == len(names) and (not back or ended(back[-1])):
            return self._rolled_back(back)
        rollout = self._rollout("previous_release")
        try:
            return self.progress | {"back": rollout.rolling(names, back)}
        except FAILURES as error:
            if isinstance(error, CommandKilled) and not self._killed_too_often():
                raise
            return self.progress | {"back": rollout.give_up(names, back, str(error))}

    def _rolled_back(self, back: list[Progress]) -> Progress:
        name = hash_of(self.progress["previous_release"]) or self.progress["previous_release"]
        failures = [each["message"] for each in back if each["state"] == FAILED]
        if failures:
            return self._give_up(f"; the rollback to {name} failed too: {'; '.join(failures)}")
        self.releases.remove(self.progress["release"])
        return self._give_up(f"; rolled back to {name}")

    def _failed(self, phase: str, error: str) -> Progress:
        """What is to be done about a failure: it depends on whether `current` was switched."""
        if phase in ("switch back", "rollback"):
            return self._give_up(f"; the rollback failed too: {error}")
        self.progress = self.progress | {"error": error, "failed_in": phase}
        self._sweep(phase)
        if not self._switched(phase):
            if release := self.progress["release"]:
                self.releases.remove(release)
            return self._give_up("; nothing was switched")
        if self.progress["previous_release"] is None:
            return self._give_up("; there is no release before this one to go back to")
        return self._then("switch back")

    def _give_up(self, consequence: str) -> Progress:
        return self._then(GIVEN_UP, error=self.progress["error"] + consequence)

    def _sweep(self, phase: str) -> None:
        """Remove what git had not finished: the next fetch would, but that may never come."""
        if phase == "fetch":
            with suppress(OSError):
                self.mirror.sweep()

    def cancel(self) -> None:
        """End what runs. Before the switch nothing was changed; after it `current` goes back, and no unit does.

        It does not where all but the removal of old releases is done.
        """
        phase = self.progress["phase"]
        self.work.end(self._job())
        self._sweep(phase)
        if phase in (DONE, GIVEN_UP, "prune"):
            return
        if not self._switched(phase):
            if release := self.progress["release"]:
                self.releases.remove(release)
        elif previous := self.progress["previous_release"]:
            self.releases.switch(previous)


PHASES: dict[str, Callable[[Deployment], Progress]] = {
    "fetch": Deployment.fetch,
    "checkout": Deployment.check_out,
    "before": Deployment.before,
    "switch": Deployment.switch,
    "restart": Deployment.restart,
    "after": Deployment.after,
    "prune": Deployment.prune,
    "switch back": Deployment.switch_back,
    "rollback": Deployment.restart_back,
}


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
