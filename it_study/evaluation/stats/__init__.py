"""Statistics of scores: intervals, comparisons and crossings."""
