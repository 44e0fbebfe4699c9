"""What can be trained: one module a kind of run, with its config, task, data and costs."""
