"""Many tasks that do not know each other: engines that run them, and shards of their results."""
