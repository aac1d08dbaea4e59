"""What turns a test into a claim, proves that it can fail, and tells what became of it."""
