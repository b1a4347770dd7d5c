"""Local folders and files, buckets, leases and manifests."""
