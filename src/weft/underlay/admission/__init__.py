"""What the webhooks say of what users write."""
