"""What turns tests into statements, proves that they can fail, and notes what became of them."""
