"""bounces: ENGINE. What comes back: reports to outcomes."""
