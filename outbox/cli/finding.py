"""What `check` found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    subject: str
    text: str
    good: bool = True
    warning: bool = False
    """To be acted upon, but mail goes out: no reason to fail."""

    @property
    def mark(self) -> str:
        """What its line begins with."""
        return "!" if self.warning else "✓" if self.good else "✗"
