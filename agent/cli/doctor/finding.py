"""The result of one check of doctor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fault`: the fault and its remedy; empty if there is none."""

    subject: str
    fault: str = ""
    detail: str = ""

    @property
    def line(self) -> str:
        if self.fault:
            return f"FAULT  {self.subject}: {self.fault}"
        return f"ok     {self.subject}" + (f": {self.detail}" if self.detail else "")
