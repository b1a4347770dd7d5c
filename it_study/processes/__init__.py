"""Processes: programs with a time limit, and the end and memory of this one."""
