"""What devices reported, as figures: groups, cohorts, pages."""
