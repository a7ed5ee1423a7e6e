"""The one error that a user may see: what is wrong, why, and what to do next."""


class UserError(Exception):
    """A mistake or a condition that the user can act on; shown without a traceback.

    `what` says what is wrong and where (a key, a file), `why` the reason, `fix` the next step.
    """

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """One line for each part that has a text."""
        parts = [self.what, f"why: {self.why}" if self.why else "", f"fix: {self.fix}" if self.fix else ""]
        return [part for part in parts if part]
