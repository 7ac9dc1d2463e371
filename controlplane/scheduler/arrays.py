"""The arrays of the scheduler: NumPy's for many nodes, lists for few, behind one interface (`smallarrays` says why).

mypy sees NumPy's types, which are those of the interface. Modules of the scheduler import this one, as `np`, and never numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.scheduler.smallarrays import SMALL, extended, is_loaded, load

if TYPE_CHECKING:
    import numpy
    from numpy import (
        append,
        array,
        bincount,
        bool_,
        count_nonzero,
        flatnonzero,
        float64,
        int32,
        int64,
        intp,
        maximum,
        ones,
        unique,
        where,
        zeros,
    )  # fmt: skip
    from numpy.typing import NDArray

    Mask = NDArray[numpy.bool_]
    Numbers = NDArray[numpy.int64]
    Counts = NDArray[numpy.int32]
    Floats = NDArray[numpy.float64]
else:
    from controlplane.scheduler.smallarrays import SmallArray as Counts
    from controlplane.scheduler.smallarrays import SmallArray as Floats
    from controlplane.scheduler.smallarrays import SmallArray as Mask
    from controlplane.scheduler.smallarrays import SmallArray as Numbers
    from controlplane.scheduler.smallarrays import (
        append,
        array,
        bincount,
        bool_,
        count_nonzero,
        flatnonzero,
        float64,
        int32,
        int64,
        intp,
        maximum,
        ones,
        unique,
        where,
        zeros,
    )  # fmt: skip

__all__ = [
    "SMALL", "Counts", "Floats", "Mask", "Numbers", "append", "array", "bincount", "bool_", "count_nonzero", "extended",
    "flatnonzero", "float64", "int32", "int64", "intp", "is_loaded", "load", "maximum", "ones", "unique", "where", "zeros",
]  # fmt: skip
