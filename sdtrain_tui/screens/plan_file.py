"""Saving a plan to a file that the user names, and the message about how that went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import UserError
from sdtrain_tui.screens.dialogs import Message
from sdtrain_tui.wizard.paths import expanded

if TYPE_CHECKING:
    from engine.plan.schema import Plan


def saved_as(name: str, plan: Plan) -> Message:
    """Write the plan, never over another file; the message says where it is, or what, why and what to do."""
    from engine.plan.files import save_plan

    path = expanded(name)
    try:
        save_plan(path, plan)
    except UserError as error:
        return Message.of(error, "not saved")
    except FileExistsError:
        return Message("not saved", [f"{path} is there already.", "fix: give another name"], bad=True)
    except OSError as error:
        why = error.strerror or str(error)
        lines = [f"{path} cannot be written", f"why: {why}", "fix: give another folder"]
        return Message("not saved", lines, bad=True)
    return Message("saved", [str(path.resolve()), f"start it with: sdtrain run {path}"])
