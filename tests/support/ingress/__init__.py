"""An image with an ingress controller: HAProxy and Python of Debian's packages, and `controller.py`."""
