"""From the reports of a fleet to what people read: figures per device class, a table, plots, one HTML file."""
