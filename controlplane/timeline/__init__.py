"""The timeline: what happened to each object, who did it and when, in a bounded file next to the state.

`recorder` follows the store, `records` and `diff` turn events into records, `log` writes them, `reading` finds them again.
"""
