"""What is wrong with a corpus, and what training shares with test."""
