"""Sessions with the agents: what each node is to run, what it reported, and the streams between people and pods."""
