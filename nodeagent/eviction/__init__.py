"""Eviction: what a node does when it runs short of memory, disk or processes, before the kernel kills processes.

thresholds   the flags that say when a node is short of a resource
decide       which thresholds are met, which conditions follow, and for how long: pure, time is an input
rank         the order in which pods are evicted: pure
storage      pods that exceed their own local storage limits: pure
words        messages, as kubelet writes them
signals      reading what is available
usage        reading what each pod uses
manager      the loop around all of it
"""
