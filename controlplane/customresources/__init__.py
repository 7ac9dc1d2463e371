"""Custom resources: schemas of CustomResourceDefinitions, and what they do to the JSON of an object."""
