"""STANDARDS: a message and a mail transaction, as octets and values.

Everything here is pure: no clock, loop, socket, SQL or config. What came from the network becomes
a value by `parse`, which raises an error of its own file for whatever the standard forbids; a
value that exists is well formed. Nothing is repaired in silence and nothing is serialised again.
"""
