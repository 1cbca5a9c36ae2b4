"""What happens to an object between the client and the store: what the server adds, what webhooks change and refuse."""
