"""Images from Dockerfiles, built by this node with its own runtime, as BuildKit builds them.

    text --grammar--> statements --reading--> instructions --stages--> Plan             pure, no I/O
    Plan --builder--> stages --steps--> layers and an image

Reading: `lines`, `heredocs`, `flags`, `words`, `jsonform` and `whitespace` are the grammar; `readers` has one reader for each
instruction; `mounts` the options of RUN --mount.
Values: `expansion` and `shellpatterns` replace variables, `arguments` are those that are known, `resolving` an instruction
with its values. `state` is an image under construction, `configuring` what an instruction does to its config.
Steps: `runsteps` and `running` for RUN, with `runmounts` and `cachemounts`; `copies`, `filesteps`, `copying` and `treecopy`
for COPY, ADD and WORKDIR, with `downloads` and `adding`; `cache` and `keys` before both.
Layers: `view` is several as one tree, `layertar` one as its tar.
Node: `builds` are all builds, `leftovers` removes what one has on the node.
"""
