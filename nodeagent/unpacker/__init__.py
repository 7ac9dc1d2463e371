"""The unpacker: a process of the agent's that forks one for each layer, with bounded memory and the layer's directory as root.

server       listens to the agent, forks, kills a fork when the agent stops waiting for it
work         what a fork does: one layer or archive, checked, into its directory
__main__     starts it without site and environment
"""
