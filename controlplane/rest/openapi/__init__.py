"""OpenAPI documents of what is served, made from the schemas that validate and merge objects."""
