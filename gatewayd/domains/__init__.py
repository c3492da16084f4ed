"""domains: the DKIM keys of the domains that we send for, and the DNS records that publish them."""
