"""The API: RPC shells over verbs, verbs over transactions, admission as pure functions."""
