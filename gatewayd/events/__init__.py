"""events: what happened, append-only. Whoever tells something reads this log."""
