"""What happens to an object between the client and the store: what is added, changed and refused."""
