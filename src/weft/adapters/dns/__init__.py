"""DNS messages, asking and answering."""
