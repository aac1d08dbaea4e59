"""What blitz itself promises, file by file."""
