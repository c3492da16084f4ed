"""Delivery: from what is owed to what became of it, by handing mail to the next hop.

`dispatcher.py` claims and hands out, `attempt.py` makes one attempt, `trouble.py` says what each
failure means, `smtp/` is the client.
"""
