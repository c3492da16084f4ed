"""tracking: RULE. Opens, clicks and unsubscribe links."""
