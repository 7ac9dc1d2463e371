"""The data path of Services on a node: from Service and EndpointSlice objects to elements of the table `inet pinnace`."""
