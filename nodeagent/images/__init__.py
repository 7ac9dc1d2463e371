"""Images on this node: `store` and `layers` keep them, `puller` and `registry` fetch them, `gc` frees disk.

`unpacking` has a process of its own (`nodeagent.unpacker`) unpack a layer; `unpack`, `layertree` and `tarsplit` run there.
"""
