"""suppression: to whom we no longer write."""
