"""kctl: kubectl's manners for Pinnace. Every command is one file in `commands`, imported only when it is called."""
