"""Everything that runs in the launcher's process and its forks, which become monitors and containers.

Standard library and `nodeagent.linux` only, and no asyncio: each monitor maps what is imported here. The agent's side is
`nodeagent/runtime/`.

    agent ──(socket)── launcher (server) ── fork ──► monitor ── fork ──► init ── exec ──► container process
                                        └── fork ──► exec or copy helper
"""
