"""The judging half of the data plane: who asks, what the rules say, what a denial does, what an answer teaches."""
