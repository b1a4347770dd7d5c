"""Kernels in Pallas, for GPUs and TPUs."""
