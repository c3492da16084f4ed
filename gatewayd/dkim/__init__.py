"""DKIM: sign what we send (RFC 6376, RFC 8463).

Pure: octets, values and key objects in, octets out. Signing is ours over `cryptography`; the tests
let dkimpy verify every signature.
"""

from gatewayd.dkim.canonicalize import BodyHash, Canonicalization
from gatewayd.dkim.key import Algorithm, SigningKey, generate_ed25519, generate_rsa
from gatewayd.dkim.sign import body_hash, sign

__all__ = [
    "Algorithm",
    "BodyHash",
    "Canonicalization",
    "SigningKey",
    "body_hash",
    "generate_ed25519",
    "generate_rsa",
    "sign",
]
