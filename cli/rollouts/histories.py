"""Revisions of a template as text.

Source: kubectl's pkg/polymorphichelpers/history.go.
"""

from __future__ import annotations

from cli.describing import tabbed, templates
from cli.rollouts.deployments import CHANGE_CAUSE
from cli.rollouts.model import Revision
from pinnace.messages import clone


def overview(found: dict[int, Revision]) -> str:
    """A table of all revisions, oldest first."""
    if not found:
        return "No rollout history found."
    rows = [f"{number}\t{found[number].cause or '<none>'}" for number in sorted(found)]
    return "\n".join(tabbed.align(["REVISION\tCHANGE-CAUSE", *rows])) + "\n"


def details(revision: Revision) -> str:
    """The template of one revision, with the cause of its change among the annotations."""
    template = clone(revision.template)
    if revision.cause:
        template.metadata.annotations[CHANGE_CAUSE] = revision.cause
    return "\n".join(tabbed.align(templates.lines(template))) + "\n"
