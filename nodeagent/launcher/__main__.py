"""`python -I -S .../nodeagent/launcher SOCKET`: the launcher, in an interpreter without site, its packages and its
environment.

What those would load is two of the fifteen megabytes that every fork maps, and a `.pth` file or a variable of somebody's must
not run in the process from which containers come.
"""

from __future__ import annotations

import sys

# Instead of this folder, whose modules would otherwise be found by their bare names.
sys.path[0] = __file__.rsplit("/nodeagent/", 1)[0]

from nodeagent.launcher import server  # noqa: E402

if __name__ == "__main__":
    server.main()
