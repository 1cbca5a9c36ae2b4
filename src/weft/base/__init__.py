"""Value types and problems that every floor speaks."""
