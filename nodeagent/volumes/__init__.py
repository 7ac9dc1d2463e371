"""A pod's volumes on the host.

manager      makes, refreshes and removes all volumes of a pod
content      the files of ConfigMaps, Secrets, projected and downwardAPI volumes: pure
emptydir, hostpath, imagevolume   one kind of volume each
atomicwriter replaces all files of a volume at once, as kubelet does
mountpoints  directories and files below a volume that other volumes are mounted on
ownership    fsGroup
"""
