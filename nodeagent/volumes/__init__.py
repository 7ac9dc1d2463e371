"""A pod's volumes on the host.

manager      makes, refreshes and removes all volumes of a pod
content      the files of ConfigMaps, Secrets, projected and downwardAPI volumes: pure
external     volumes outside of the pod's directory, and what claims are bound to
emptydir, hostpath, imagevolume, nfs   one kind of volume each
reclaim      deletes local volumes that are released
atomicwriter replaces all files of a volume at once, as kubelet does
mountpoints  directories and files below a volume that other volumes are mounted on
ownership    fsGroup
"""
