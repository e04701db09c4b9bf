"""Two or more runs side by side, and the commands that show a run or compare several."""
