"""A client of OCI distribution registries, for pulling.

config       mirrors and the insecure list: where a name is looked for
credentials  image pull secrets, and which of them goes where
challenge    what a registry says when it refuses: WWW-Authenticate
proxies      HTTP_PROXY, HTTPS_PROXY and NO_PROXY: which proxy a request passes
http         one request: timeouts, redirects, and no credential to another host
client       manifests and blobs, verified

`http` and `client` block and run in threads; the library that they use is imported with the first pull. Source: the OCI
distribution-spec, and Docker's token authentication specification.
"""
