"""Rollouts rehearsed on a simulated fleet in virtual time, by the server's controller and the device's agent."""
