"""One network across hosts. Start with `vxlan` for the idea, `plan` for the table, `overlay` for the whole."""
