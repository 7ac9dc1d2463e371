"""`make generate`: docs/kinds.md, every kind that is served with its fields, compared with Kubernetes. Development only.

The page is read from the registry, the controllers and the messages of the API, so a new kind is on it without a change here.
"""
