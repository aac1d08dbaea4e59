"""What a person types: a module for each command, and the parser of them all."""
