"""The file that a run writes, and what is read out of one or several of them."""
