"""The public collection: fetched, checked, continued."""
