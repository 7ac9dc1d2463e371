"""Controllers: one file and one root kind each, switched off by name with --disable-controller."""
