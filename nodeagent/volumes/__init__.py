"""A pod's volumes: `manager` makes them on the host, `projection` writes ConfigMaps and Secrets into files."""
