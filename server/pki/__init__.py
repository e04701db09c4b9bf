"""The fleet's certificates: its authority and its server's."""
