"""Starts all processes of a run: on this machine, a cluster or a cloud."""
