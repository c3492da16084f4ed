"""intake: accept. Where responsibility for a message begins."""
