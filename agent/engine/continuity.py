"""Checks before the queue runs that this machine used the database last, and records the use while it runs."""

from agent import log
from agent.config import Settings
from agent.errors import StoreUnavailable
from agent.store import Store, actions, from_backup


class Continuity:
    """Fails the waiting actions of an older copy, or of a clone's database, instead of running them."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._witness = from_backup.Witness(settings.agent.db)
        self._resume_within = settings.actions.resume_within
        self._newest_before = actions.LAST
        self._is_checked = False

    def note_start(self) -> None:
        """Note the newest action before callers are served: later ones do not come from a backup."""
        try:
            self._newest_before = actions.newest(self._store)
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)

    def check(self) -> bool:
        """Fail the actions that must not run; True if there were any. Raises `StoreUnavailable`."""
        if self._is_checked:
            return False
        why = from_backup.reason(self._store, self._witness, self._resume_within)
        if not why and from_backup.is_noted(self._store):
            self._is_checked = True
            return False
        failed = from_backup.fail_waiting(self._store, why, self._newest_before)
        if why or failed:
            log.from_backup(failed, why or from_backup.WITHOUT_SECRETS)
        self._is_checked = True
        self.note_used()  # at once: after a kill the same reason must not be found again
        return failed > 0

    def note_used(self) -> None:
        """Record the use and the newest event, by which an older copy of the database is detected."""
        if not self._is_checked:
            return
        try:
            from_backup.note_still_used(self._store)
            self._witness.write(self._store)
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
        except OSError as error:
            log.store_unavailable([str(error)])
