"""What a training needs, computed without its devices."""
