"""Webhooks: where they may go, how they are signed, where they wait, and how they are delivered."""
