"""HTTP in: authenticate, store, enqueue, answer. No business rule."""
