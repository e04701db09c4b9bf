"""The server: owns the backbone, asks the fleet to personalise it, and keeps the reports."""
