"""What kctl timeline prints: the words of a record, and their layout."""
