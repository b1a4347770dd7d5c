"""Processes: programs with a time limit, and the end of this one."""
