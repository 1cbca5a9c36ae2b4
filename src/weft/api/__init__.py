"""Resources as users write them: one file each, decoded with errors that name the field."""
