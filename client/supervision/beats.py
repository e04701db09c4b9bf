"""What a node tells its supervisor through a pipe, one byte for each thing, and whoever looks later."""

BEAT_VARIABLE = "TINYTRAIN_BEAT"  # the number of the pipe, in the node's environment
ALIVE = b"a"
WORKING = b"w"
CONTACT = b"c"
CONTACT_FILE = "agent.contact"  # in the store; its time of change is that of the last contact
