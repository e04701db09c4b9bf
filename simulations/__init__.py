"""What the researcher uses: simulated fleets of unequal devices, and the reports of what they did."""
