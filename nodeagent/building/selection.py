"""Which entries below a copied directory are taken: COPY --parents includes by patterns, --exclude leaves out. Pure.

Paths are relative to the directory whose content is copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.pathfilters import Matches, PathFilter

NOTHING = PathFilter()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`taken`: the entry itself; `searched`: entries below it may be taken."""

    taken: bool
    searched: bool
    included: Matches
    excluded: Matches


@dataclass(frozen=True, slots=True)
class Selection:
    """`include` None takes everything that `exclude` does not select."""

    include: PathFilter | None = None
    exclude: PathFilter = NOTHING

    @property
    def top(self) -> Verdict:
        """The verdict on the directory itself, whose content is copied."""
        include = self.include.top if self.include is not None else ()
        return Verdict(self.include is None, True, include, self.exclude.top)

    def verdict(self, path: str, parent: Verdict) -> Verdict:
        """On an entry, given the verdict on its directory."""
        included: Matches = ()
        taken = True
        if self.include is not None:
            included = self.include.matches(path, parent.included)
            taken = self.include.selected(included)
        excluded = self.exclude.matches(path, parent.excluded)
        out = self.exclude.selected(excluded)
        searched = not out or self.exclude.has_exceptions
        return Verdict(taken and not out, searched, included, excluded)

    def takes_file(self, name: str) -> bool:
        """Whether a file that is itself the source is taken, by its base name."""
        return not self.exclude.selected(self.exclude.matches(name, self.exclude.top))


ALL = Selection()
