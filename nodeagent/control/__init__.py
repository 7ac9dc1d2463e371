"""The agent's connection to the control plane: joining, the session, the assignment, and status reports.

session ──► assignment (stored, then published) ──► pods, network, statics        status ──► statusmanager ──► session
"""
