"""Webhooks: allowed addresses, signatures, the store of waiting requests, and delivery."""
