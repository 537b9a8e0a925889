"""A request that is not answered: a status, what happened, one way to mend it."""

from typing import Any


class Refusal(Exception):
    """Becomes ``{"error": {"problem", "fix"}}`` with that status."""

    def __init__(self, status: int, problem: str, fix: str, *, retry_after: int | None = None):
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.fix = fix
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON that the client gets."""
        return {"error": {"problem": self.problem, "fix": self.fix}}

    def headers(self) -> dict[str, str]:
        """When to come again, where that helps."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def busy(problem: str, *, after: int = 1) -> Refusal:
    """What may go well a little later."""
    return Refusal(503, problem, f"send it again in {after} s or more", retry_after=after)
