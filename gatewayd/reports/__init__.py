"""reports: STANDARDS. What comes back about a message that was sent (pure)."""
