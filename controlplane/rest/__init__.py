"""Kubernetes' REST API: paths, bodies and answers over the request pipeline. A thin layer, as `rpc` is for gRPC."""
