"""What one look of doctor found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`fault` says what is wrong, with what to do at its end; empty where nothing is."""

    subject: str
    fault: str = ""
    detail: str = ""

    @property
    def line(self) -> str:
        if self.fault:
            return f"FAULT  {self.subject}: {self.fault}"
        return f"ok     {self.subject}" + (f": {self.detail}" if self.detail else "")
