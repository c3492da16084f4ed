"""mailboxes: the addresses that may send, and where the mail of each goes."""
