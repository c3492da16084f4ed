"""tokens: who is asking. A token is a signed JWT; its `jti` is looked up, so it can be revoked."""
