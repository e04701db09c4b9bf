"""What does the computing of a simulated fleet: processes of this machine, or of a Ray cluster."""
