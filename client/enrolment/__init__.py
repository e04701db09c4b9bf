"""How a machine becomes a node: the operator's bundle, unpacked."""
