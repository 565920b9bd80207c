"""What a bundle is worth by event: what the daemon reports of a programme against what is in it."""
