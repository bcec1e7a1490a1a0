"""Publications, subscriptions, forwarding and negotiation."""
