"""`blitz perf`: what is slower in HEAD than in BASE."""
