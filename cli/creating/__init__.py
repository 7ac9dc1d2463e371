"""Objects that `kctl create` makes from arguments: one file for each group of kinds, and the table of them."""
