"""Metrics, baselines, statistics and the scorer of predictions.jsonl."""
