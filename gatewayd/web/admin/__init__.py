"""The operator API: JSON over the control socket, guarded by file permissions.

The CLI is its client while the daemon runs, and calls the same application in-process when it does
not. So nobody but the owner of the state directory ever writes its database.
"""
