"""The server's processes: started, watched, logged, with a proxy in front."""
