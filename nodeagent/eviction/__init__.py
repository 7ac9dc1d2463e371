"""Eviction: what a node does when it runs short of memory, disk or processes, before the kernel does something worse.

thresholds   what short means, as flags say it
decide       which thresholds are met, which conditions follow, and for how long: pure, time is an input
rank         which pod goes first: pure
storage      pods that exceed their own local storage limits: pure
words        messages, as kubelet writes them
signals      reading what is available
usage        reading what each pod uses
manager      the loop around all of it
admission    which pods the node refuses at its door: pure
"""
