"""What became of a member: the codes of runs and stores, and what they mean."""

from __future__ import annotations

RUNNING, DIVERGED, SINGULAR = 0, 1, 2  # of a pass
PENDING, NOT_FINITE, FAILED = -1, 3, 4  # of a store, beside those

STATUSES = {
    PENDING: "pending",
    RUNNING: "finished",
    DIVERGED: "diverged",
    SINGULAR: "singular",
    NOT_FINITE: "not finite",
    FAILED: "failed",
}
"""Codes of the variable `status`: those of a pass, of members with numbers that are not finite, or with an error."""

MEMBER, STATUS = "member", "status"  # names of the dimension and of the variable
