"""quotas: how much a token may send in one UTC hour and day."""
