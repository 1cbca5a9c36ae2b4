"""The programs that run: settings are read here and nowhere else."""
