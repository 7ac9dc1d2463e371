"""Images from Dockerfiles, built by this node with its own runtime.

    text --grammar--> statements --reading--> instructions --stages--> Plan             pure, no I/O
    Plan --builder--> layers and an image: `running` for RUN, `copying` for COPY, ADD and WORKDIR, `cache` before both

`words` is the quoting and the variables of Dockerfiles, `state` what an image under construction is, `layertar` a folder
as a layer's tar, `view` several layers as one tree.
"""
